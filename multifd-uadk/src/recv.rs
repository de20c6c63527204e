// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side in software.

use std::ops::RangeInclusive;

use multifd_core::method::{CodecPath, PathCounts};
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use multifd_deflate::table::{Table, payload_limits};
use multifd_deflate::{Decoder, Deflate};

use crate::zlib::{NAME, Stream};

/// State of one receiving channel. Nothing in it goes from packet to packet.
#[derive(Debug)]
pub(crate) struct UadkRecv {
    decoder: Decoder,
    payload: Vec<u8>,
    /// One page, before it goes to the guest.
    page: Vec<u8>,
    counts: PathCounts,
}

impl UadkRecv {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate) -> Self {
        let page_size = setup.page_size.bytes();
        let most = *payload_limits(setup.page_size.pages_per_packet(), page_size).end();
        Self {
            decoder: deflate.decoder(),
            payload: vec![0; most],
            page: vec![0; page_size],
            counts: PathCounts::default(),
        }
    }
}

impl RecvMethod for UadkRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        payload_limits(pages, self.page.len())
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let bytes = payload
            .read_rest(&mut self.payload)
            .map_err(MethodError::payload(NAME))?;
        let table = Table::parse(bytes, pages.count(), self.page.len())
            .map_err(|error| MethodError::corrupt(NAME, error.at(), error.to_string()))?;
        let mut writer = pages.writer();
        for from in table.pages() {
            if from.is_raw {
                writer.write(from.bytes);
                continue;
            }
            Stream::parse(from.bytes)
                .and_then(|stream| stream.decode(&mut self.decoder, &mut self.page))
                .map_err(|what| MethodError::corrupt(NAME, from.at, what))?;
            writer.write(&self.page);
        }
        self.counts.count(CodecPath::Software);
        Ok(())
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.counts)
    }
}
