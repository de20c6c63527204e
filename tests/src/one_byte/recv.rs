// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side.

use std::ops::RangeInclusive;

use multifd_core::{ChannelSetup, MethodError, PageSize, PagesMut, Payload, RecvMethod};

use super::format::{NAME, RAW, REPEATED};

/// State of one receiving channel.
#[derive(Debug)]
pub(super) struct OneByteRecv {
    page_size: PageSize,
    page: Vec<u8>,
}

impl OneByteRecv {
    pub(super) fn new(setup: &ChannelSetup) -> Self {
        Self {
            page_size: setup.page_size,
            page: vec![0; setup.page_size.bytes()],
        }
    }
}

impl RecvMethod for OneByteRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        2 * pages..=pages * (1 + self.page_size.bytes())
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        for page in pages.iter() {
            let at = payload.len() - payload.remaining();
            let mut kind = [0];
            payload
                .read_exact(&mut kind)
                .map_err(MethodError::payload(NAME))?;
            match kind {
                [RAW] => payload.read_exact(&mut self.page),
                [REPEATED] => {
                    let mut byte = [0];
                    let read = payload.read_exact(&mut byte);
                    self.page.fill(u8::from_be_bytes(byte));
                    read
                }
                [other] => {
                    let what = format!("a page of kind {other}, wanted {RAW} or {REPEATED}");
                    return Err(MethodError::corrupt(NAME, at, what));
                }
            }
            .map_err(MethodError::payload(NAME))?;
            page.copy_from(&self.page);
        }
        Ok(())
    }
}
