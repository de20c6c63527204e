// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side: one complete frame per packet.

use multifd_core::method::Rung;
use multifd_core::pages::PageCopy;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use zstd_safe::CCtx;

use crate::ladder::{LADDER, compressor, failed};
use crate::raw::{self, BLOCK_HEADER_LEN, BLOCK_LEN, FRAME_HEADER_LEN};

/// State of one sending channel.
pub(crate) struct ZstdSend {
    /// One for each rung that may be asked for, or for the only level. A compressor whose level changes would give
    /// its memory back and allocate it again; `None` leaves pages as they are.
    compressors: Vec<Option<CCtx<'static>>>,
    selected: usize,
    /// The pages of a packet, copied so that they hold still.
    content: PageCopy,
    /// The frame.
    frame: Vec<u8>,
    frame_header: [u8; FRAME_HEADER_LEN],
    block_headers: Vec<[u8; BLOCK_HEADER_LEN]>,
}

impl ZstdSend {
    pub(crate) fn new(setup: &ChannelSetup, level: u8) -> Result<Self, MethodError> {
        let content = vec![0; setup.packet_bytes()];
        let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
        let mut compressors = match setup.rungs {
            None => vec![Some(compressor(level.into())?)],
            Some(rungs) => {
                let ladder = LADDER.iter().take(rungs.max(1));
                let of = |rung: &Rung| (!rung.is_raw()).then(|| compressor(rung.level.into()));
                ladder
                    .map(|rung| of(rung).transpose())
                    .collect::<Result<_, _>>()?
            }
        };
        // The library allocates its tables with its first frame, so that is not a packet's.
        for compressor in compressors.iter_mut().flatten() {
            compressor
                .compress2(frame.as_mut_slice(), &content)
                .map_err(failed)?;
        }
        Ok(Self {
            compressors,
            selected: 0,
            block_headers: Vec::with_capacity(content.len().div_ceil(BLOCK_LEN)),
            frame_header: [0; FRAME_HEADER_LEN],
            content: PageCopy::new(content.len()),
            frame,
        })
    }

    /// Leaves the pages where they are, between the headers of a frame and its blocks. The guest may write to them
    /// meanwhile: nothing in such a frame depends on its content.
    fn send_raw<'a>(&'a mut self, pages: &Pages<'a>, out: &mut Segments<'a>) {
        self.block_headers.clear();
        self.block_headers.extend(raw::block_headers(pages.bytes()));
        self.frame_header = raw::frame_header(pages.bytes());
        out.push(&self.frame_header);
        out.push_blocks(pages, BLOCK_LEN, &self.block_headers);
    }
}

impl SendMethod for ZstdSend {
    fn select(&mut self, rung: usize) {
        self.selected = rung;
    }

    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let Some(Some(compressor)) = self.compressors.get_mut(self.selected) else {
            self.send_raw(pages, out);
            return Ok(());
        };
        let content = self.content.fill(pages);
        let len = compressor
            .compress2(self.frame.as_mut_slice(), content)
            .map_err(failed)?;
        out.push(self.frame.get(..len).unwrap_or_default());
        Ok(())
    }
}
