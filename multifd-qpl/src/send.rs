// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side, page by page: by this project's software, or by libqpl's.

use multifd_core::method::{CodecPath, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::PageEncoder;
use multifd_deflate::table::TableWriter;

use crate::job::{Operation, SoftwareJob};
use crate::software;

/// State of one sending channel. Nothing in it goes from packet to packet.
pub(crate) struct QplSend {
    /// One page, copied so that it holds still.
    page: Vec<u8>,
    payload: TableWriter,
    encoder: PageEncoder,
    library: Option<SoftwareJob>,
    counts: PathCounts,
}

impl QplSend {
    /// Without a `library`, the encoder makes all streams.
    pub(crate) fn new(
        setup: &ChannelSetup,
        encoder: PageEncoder,
        library: Option<SoftwareJob>,
    ) -> Self {
        let page = setup.page_size;
        Self {
            page: vec![0; page.bytes()],
            payload: TableWriter::new(page.pages_per_packet(), page.bytes()),
            encoder,
            library,
            counts: PathCounts::default(),
        }
    }
}

impl SendMethod for QplSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let Self {
            page,
            payload,
            encoder,
            library,
            counts,
        } = self;
        let mut tally = Tally::new(match library {
            Some(_) => CodecPath::VendorSoftware,
            None => CodecPath::Software,
        });
        payload.clear();
        for guest in pages.iter() {
            guest.copy_to(page);
            let added = payload.add(page, |page, room| {
                let Some(job) = library else {
                    return software::encode(encoder, page, room);
                };
                match job.run(Operation::Compress, page, room) {
                    Ok(length) => Some(length),
                    Err(status) if status.is_no_room() => None,
                    Err(status) => {
                        tally.fell_back(status.fallback());
                        software::encode(encoder, page, room)
                    }
                }
            });
            debug_assert!(added, "core hands over no more pages than a packet has");
        }
        tally.count_in(counts);
        for part in payload.parts() {
            out.push(part);
        }
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}
