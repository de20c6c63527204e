//! The sending side with libqatzip.

use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use qatzip_sys::{Buffer, Direction};

use crate::engine::Vendor;
use crate::member::{MAX_CONTENT, QZ_HEADER_LEN, TRAILER_LEN};
use crate::send::QatzipSend;
use crate::session::Sessions;
use crate::shape::MAX_DEFLATE;

/// State of one sending channel.
pub(crate) struct VendorSend {
    sessions: Sessions,
    /// The pages of a packet, copied so that they hold still.
    content: Buffer,
    /// The members, which are sent from where the device wrote them.
    members: Buffer,
    own: QatzipSend,
}

impl VendorSend {
    pub(crate) fn new(setup: &ChannelSetup, vendor: &Vendor, own: QatzipSend) -> Self {
        let most = setup.packet_bytes().div_ceil(MAX_CONTENT);
        Self {
            sessions: vendor.sessions(Direction::Compress, setup.channel),
            content: vendor.buffer(setup.packet_bytes()),
            members: vendor.buffer(most * (QZ_HEADER_LEN + MAX_DEFLATE + TRAILER_LEN)),
            own,
        }
    }
}

impl SendMethod for VendorSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let copied = pages.copy_to(&mut self.content);
        let content = self.content.get(..copied).unwrap_or_default();
        match self.sessions.compress(content, &mut self.members) {
            Some(len) => {
                out.push(self.members.get(..len).unwrap_or_default());
                Ok(())
            }
            None => self.own.send_prepare(pages, out),
        }
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.sessions.counts())
    }
}
