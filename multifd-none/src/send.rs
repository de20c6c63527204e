// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side.

use multifd_core::{MethodError, Pages, Segments, SendMethod};

/// State of one sending channel: none.
#[derive(Debug)]
pub(crate) struct NoneSend;

impl SendMethod for NoneSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        // The kernel reads the pages when they are sent. What the guest writes until then goes
        // with them, and what it writes later makes the page dirty again.
        out.push_pages(pages);
        Ok(())
    }
}
