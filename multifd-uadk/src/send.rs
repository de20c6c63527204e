// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side in software.

use multifd_core::method::{CodecPath, PathCounts};
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::table::TableWriter;
use multifd_deflate::{Deflate, PIECE, PageEncoder, is_compressible};

use crate::zlib;

/// State of one sending channel. Nothing in it goes from packet to packet.
#[derive(Debug)]
pub(crate) struct UadkSend {
    encoder: PageEncoder,
    /// One page, copied so that it holds still.
    page: Vec<u8>,
    payload: TableWriter,
    counts: PathCounts,
}

impl UadkSend {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate) -> Self {
        let page_size = setup.page_size.bytes();
        Self {
            encoder: deflate.page_encoder(page_size),
            page: vec![0; page_size],
            payload: TableWriter::new(setup.page_size.pages_per_packet(), page_size),
            counts: PathCounts::default(),
        }
    }
}

impl SendMethod for UadkSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let Self { encoder, page, .. } = self;
        self.payload.clear();
        for guest in pages.iter() {
            guest.copy_to(page);
            let added = self
                .payload
                .add(page, |page, room| encode(encoder, page, room));
            debug_assert!(added, "core hands over no more pages than a packet has");
        }
        self.counts.count(CodecPath::Software);
        for part in self.payload.parts() {
            out.push(part);
        }
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}

/// Writes the stream of a page to the front of `room`; `None` if the page is to be sent as it is.
pub(crate) fn encode(encoder: &mut PageEncoder, page: &[u8], room: &mut [u8]) -> Option<usize> {
    if !page.chunks(PIECE).any(is_compressible) {
        return None;
    }
    zlib::encode(encoder, page, room)
}
