//! The receiving side: whatever the table says is a stream, by the device, or by software where that
//! does not or cannot.

use std::ops::RangeInclusive;

use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use multifd_deflate::table::{Table, payload_limits};
use multifd_deflate::{Decoder, Deflate};

use crate::device::Device;
use crate::zlib::NAME;
use crate::zlib::Stream;

/// State of one receiving channel. Nothing in it goes from packet to packet.
#[derive(Debug)]
pub(crate) struct UadkRecv {
    device: Device,
    decoder: Decoder,
    page_size: usize,
    payload: Vec<u8>,
    content: Vec<u8>,
}

impl UadkRecv {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate, device: Device) -> Self {
        let page_size = setup.page_size.bytes();
        let most = *payload_limits(setup.page_size.pages_per_packet(), page_size).end();
        Self {
            device,
            decoder: deflate.decoder(),
            page_size,
            payload: vec![0; most],
            content: vec![0; setup.packet_bytes()],
        }
    }
}

impl RecvMethod for UadkRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        payload_limits(pages, self.page_size)
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let bytes = payload
            .read_rest(&mut self.payload)
            .map_err(MethodError::payload(NAME))?;
        let (content, _) = self.content.split_at_mut(pages.bytes());
        let table = Table::parse(bytes, pages.count(), self.page_size)
            .map_err(|error| MethodError::corrupt(NAME, error.at(), error.to_string()))?;
        for (page, room) in table.pages().zip(content.chunks_exact_mut(self.page_size)) {
            if page.is_raw {
                room.copy_from_slice(page.bytes);
            } else {
                decode(&mut self.device, &mut self.decoder, page.bytes, room)
                    .map_err(|what| MethodError::corrupt(NAME, page.at, what))?;
            }
        }
        pages.writer().write(content);
        // Only now: a payload that is wrong is the peer's fault.
        self.device.end_packet()
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.device.counts())
    }
}

/// Decompresses a stream to all of `page`.
fn decode(
    device: &mut Device,
    decoder: &mut Decoder,
    bytes: &[u8],
    page: &mut [u8],
) -> Result<(), String> {
    // The device passes over the header, and does not refuse a stream for its checksum.
    let stream = Stream::parse(bytes)?;
    if let Some(made) = device.run(bytes) {
        if made.len() == page.len() && stream.is_of(made) {
            page.copy_from_slice(made);
            return Ok(());
        }
        device.failed();
    }
    stream.decode(decoder, page)
}
