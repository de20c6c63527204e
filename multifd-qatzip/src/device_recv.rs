//! The receiving side with libqatzip.

use std::ops::RangeInclusive;

use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use qatzip_sys::{Buffer, Direction};

use crate::engine::Vendor;
use crate::member::NAME;
use crate::recv::{MAX_PAYLOAD, Unpacker, read_payload};
use crate::session::Sessions;

/// State of one receiving channel.
pub(crate) struct VendorRecv {
    sessions: Sessions,
    payload: Buffer,
    content: Buffer,
    own: Unpacker,
}

impl VendorRecv {
    pub(crate) fn new(setup: &ChannelSetup, vendor: &Vendor, own: Unpacker) -> Self {
        Self {
            sessions: vendor.sessions(Direction::Decompress, setup.channel),
            payload: vendor.buffer(MAX_PAYLOAD),
            content: vendor.buffer(setup.packet_bytes()),
            own,
        }
    }
}

impl RecvMethod for VendorRecv {
    fn payload_limits(&self, _pages: usize) -> RangeInclusive<usize> {
        1..=MAX_PAYLOAD
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let bytes = read_payload(payload, &mut self.payload)?;
        let content = self.content.get_mut(..pages.bytes()).ok_or_else(|| {
            MethodError::device(NAME, "more pages than the channel was set up for")
        })?;
        if self.sessions.decompress(bytes, content) {
            pages.writer().write(content);
            return Ok(());
        }
        self.own.unpack(bytes, pages)
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.sessions.counts())
    }
}
