//! The sending side: each page by the device, or by software where that does not or cannot.

use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::table::TableWriter;
use multifd_deflate::{Deflate, PIECE, PageEncoder, is_compressible};

use crate::device::Device;
use crate::zlib;

/// State of one sending channel. Nothing in it goes from packet to packet.
#[derive(Debug)]
pub(crate) struct UadkSend {
    device: Device,
    encoder: PageEncoder,
    page_size: usize,
    /// The pages of a packet, copied so that they hold still.
    content: Vec<u8>,
    payload: TableWriter,
}

impl UadkSend {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate, device: Device) -> Self {
        let page_size = setup.page_size.bytes();
        Self {
            device,
            encoder: deflate.page_encoder(page_size),
            page_size,
            content: vec![0; setup.packet_bytes()],
            payload: TableWriter::new(setup.page_size.pages_per_packet(), page_size),
        }
    }
}

impl SendMethod for UadkSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let copied = pages.copy_to(&mut self.content);
        let content = self.content.get(..copied).unwrap_or_default();
        self.payload.clear();
        for page in content.chunks_exact(self.page_size) {
            let (device, encoder) = (&mut self.device, &mut self.encoder);
            let added = self
                .payload
                .add(page, |page, room| encode(device, encoder, page, room));
            debug_assert!(added, "core hands over no more pages than a packet has");
        }
        self.device.end_packet()?;
        for part in self.payload.parts() {
            out.push(part);
        }
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.device.counts())
    }
}

/// Writes the stream of a page to the front of `room`; `None` if the page is to be sent as it is.
fn encode(
    device: &mut Device,
    encoder: &mut PageEncoder,
    page: &[u8],
    room: &mut [u8],
) -> Option<usize> {
    if let Some(stream) = device.run(page) {
        room.get_mut(..stream.len())?.copy_from_slice(stream);
        return Some(stream.len());
    }
    if !page.chunks(PIECE).any(is_compressible) {
        return None;
    }
    zlib::encode(encoder, page, room)
}
