// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side: one stream, of packets that stand alone or of ones that do not.

use std::ops::RangeInclusive;

use multifd_core::geometry::MAX_PAYLOAD;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use multifd_deflate::zlib_header::{self, HEADER_LEN};

use crate::format::NAME;
use crate::inflate::{Inflater, MARK_LEN};

/// State of one receiving channel.
pub(crate) struct ZlibRecv {
    inflater: Inflater,
    /// Whether the stream's header has been read.
    started: bool,
    payload: Vec<u8>,
}

impl ZlibRecv {
    pub(crate) fn new(setup: &ChannelSetup) -> Self {
        Self {
            inflater: Inflater::new(setup.packet_bytes()),
            started: false,
            payload: vec![0; MAX_PAYLOAD + MARK_LEN],
        }
    }
}

impl RecvMethod for ZlibRecv {
    fn payload_limits(&self, _pages: usize) -> RangeInclusive<usize> {
        1..=MAX_PAYLOAD
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let header_len = if self.started { 0 } else { HEADER_LEN };
        if !self.started {
            let mut bytes = [0; HEADER_LEN];
            payload
                .read_exact(&mut bytes)
                .map_err(MethodError::payload(NAME))?;
            zlib_header::check(bytes).map_err(|what| MethodError::corrupt(NAME, 0, what))?;
            self.started = true;
        }
        let (room, _) = self.payload.split_at_mut(MAX_PAYLOAD);
        let len = payload
            .read_rest(room)
            .map_err(MethodError::payload(NAME))?
            .len();
        let (bytes, _) = self.payload.split_at_mut(len + MARK_LEN);
        let content = self.inflater.inflate(bytes, pages.bytes(), header_len)?;
        pages.writer().write(content);
        Ok(())
    }
}
