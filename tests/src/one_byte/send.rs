// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side.

use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};

use super::format::{RAW, REPEATED};

/// State of one sending channel.
#[derive(Debug)]
pub(super) struct OneByteSend {
    page: Vec<u8>,
    payload: Vec<u8>,
}

impl OneByteSend {
    pub(super) fn new(setup: &ChannelSetup) -> Self {
        let packet = setup.packet_bytes() + setup.page_size.pages_per_packet();
        Self {
            page: vec![0; setup.page_size.bytes()],
            payload: Vec::with_capacity(packet),
        }
    }
}

impl SendMethod for OneByteSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        self.payload.clear();
        for page in pages.iter() {
            // The guest may write to the page at any time: look only at a copy.
            page.copy_to(&mut self.page);
            match self.page.split_first() {
                Some((first, rest)) if rest.iter().all(|byte| byte == first) => {
                    self.payload.extend([REPEATED, *first]);
                }
                _ => {
                    self.payload.push(RAW);
                    self.payload.extend_from_slice(&self.page);
                }
            }
        }
        out.push(&self.payload);
        Ok(())
    }
}
