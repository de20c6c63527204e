// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side.

use std::ops::RangeInclusive;

use multifd_core::{
    ChannelSetup, MethodError, MethodIdentity, PageSize, PagesMut, Payload, RecvMethod,
};

/// State of one receiving channel.
#[derive(Debug)]
pub(crate) struct NoneRecv {
    page_size: PageSize,
}

impl NoneRecv {
    pub(crate) fn new(setup: &ChannelSetup) -> Self {
        Self {
            page_size: setup.page_size,
        }
    }
}

impl RecvMethod for NoneRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        let exact = pages * self.page_size.bytes();
        exact..=exact
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        payload
            .read_pages(pages)
            .map_err(MethodError::payload(NAME))
    }
}

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = MethodIdentity::NONE.name();
