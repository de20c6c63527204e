// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side, page by page: by this project's software, or by libqpl's.

use std::ops::RangeInclusive;

use multifd_core::method::{CodecPath, Fallback, PathCounts, Tally};
use multifd_core::{ChannelSetup, MethodError, PageSize, PagesMut, Payload, RecvMethod};
use multifd_deflate::Decoder;
use multifd_deflate::table::{self, Table};

use crate::error::NAME;
use crate::job::{Operation, SoftwareJob};

/// State of one receiving channel. Nothing in it goes from packet to packet.
pub(crate) struct QplRecv {
    page_size: PageSize,
    payload: Vec<u8>,
    /// One page, before it goes to the guest.
    page: Vec<u8>,
    decoder: Decoder,
    library: Option<SoftwareJob>,
    counts: PathCounts,
}

impl QplRecv {
    /// Without a `library`, the decoder takes all streams.
    pub(crate) fn new(
        setup: &ChannelSetup,
        decoder: Decoder,
        library: Option<SoftwareJob>,
    ) -> Self {
        let page = setup.page_size;
        let limits = table::payload_limits(page.pages_per_packet(), page.bytes());
        Self {
            page_size: page,
            payload: vec![0; *limits.end()],
            page: vec![0; page.bytes()],
            decoder,
            library,
            counts: PathCounts::default(),
        }
    }
}

impl QplRecv {
    /// Fills the pages with what `bytes` has, a payload that somebody else has read.
    pub(crate) fn unpack(&mut self, bytes: &[u8], pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let work = Work {
            page: &mut self.page,
            decoder: &mut self.decoder,
            library: self.library.as_mut(),
        };
        work.unpack(bytes, pages, &mut self.counts)
    }
}

impl RecvMethod for QplRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        table::payload_limits(pages, self.page_size.bytes())
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let bytes = payload
            .read_rest(&mut self.payload)
            .map_err(MethodError::payload(NAME))?;
        let work = Work {
            page: &mut self.page,
            decoder: &mut self.decoder,
            library: self.library.as_mut(),
        };
        work.unpack(bytes, pages, &mut self.counts)
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}

/// What unpacks a payload.
struct Work<'a> {
    page: &'a mut [u8],
    decoder: &'a mut Decoder,
    library: Option<&'a mut SoftwareJob>,
}

impl Work<'_> {
    fn unpack(
        mut self,
        bytes: &[u8],
        pages: &PagesMut<'_>,
        counts: &mut PathCounts,
    ) -> Result<(), MethodError> {
        let table = Table::parse(bytes, pages.count(), self.page.len())
            .map_err(|error| MethodError::corrupt(NAME, error.at(), error.to_string()))?;
        let mut tally = Tally::new(match self.library {
            Some(_) => CodecPath::VendorSoftware,
            None => CodecPath::Software,
        });
        let mut writer = pages.writer();
        for from in table.pages() {
            if from.is_raw {
                writer.write(from.bytes);
                continue;
            }
            let is_done = self
                .library
                .as_mut()
                .is_some_and(|job| by_library(job, from.bytes, self.page, &mut tally));
            if !is_done {
                self.decoder
                    .decode_exact(from.bytes, self.page)
                    .map_err(|error| MethodError::corrupt(NAME, from.at, error.to_string()))?;
            }
            writer.write(self.page);
        }
        tally.count_in(counts);
        Ok(())
    }
}

/// Whether libqpl made a page of the stream. Where it did not, the decoder tells whether the stream is bad or
/// the library cannot take it.
fn by_library(job: &mut SoftwareJob, stream: &[u8], page: &mut [u8], tally: &mut Tally) -> bool {
    let reason = match job.run(Operation::Decompress, stream, page) {
        Ok(written) if written == page.len() => return true,
        Ok(_) => Fallback::Failed,
        Err(status) => status.fallback(),
    };
    tally.fell_back(reason);
    false
}
