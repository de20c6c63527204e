// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The search for zero pages on the migration's own thread, for those that go on the main channel.

use migration_params::ZeroPageDetection;
use multifd_core::memory::CopyWindow;
use multifd_core::{Error, Fault, GuestMemory, Place, RamBlock, Side};

/// Tells zero pages from others, also in memory that its file may lose while it is read.
#[derive(Debug)]
pub(super) struct ZeroScan {
    /// Where pages that may go are copied to before they are looked at; `None` if there are none.
    copies: Option<CopyWindow>,
}

impl ZeroScan {
    /// For a migration that sends zero pages so; only a `Legacy` one looks for them here.
    ///
    /// # Errors
    /// The system has no memory for copies.
    pub(super) fn new(memory: &GuestMemory, zero_pages: ZeroPageDetection) -> Result<Self, Error> {
        let copies = match zero_pages {
            ZeroPageDetection::Legacy => CopyWindow::for_memory(memory).map_err(|error| {
                let what = format!("no room for copies of pages: {error}");
                Error::new(Fault::Caller, what).at(Place::on(Side::Source))
            })?,
            _ => None,
        };
        Ok(Self { copies })
    }

    /// Whether the `len` bytes at a byte of a block are all zero; `false` if they are not wholly inside it.
    ///
    /// # Errors
    /// The system does not have them any more.
    pub(super) fn is_zero(&self, block: &RamBlock, offset: u64, len: usize) -> Result<bool, Error> {
        let Some(page) = block.span(offset, len) else {
            return Ok(false);
        };
        let Some(copies) = self.copies.as_ref().filter(|_| block.may_shrink()) else {
            return Ok(page.is_zero());
        };
        copies.copy(page, 0).map_err(|fault| {
            let place = Place::on(Side::Source).block(block.name().as_str());
            Error::new(Fault::Caller, fault).at(place.offset(offset))
        })?;
        let copy = copies.block().span(0, len);
        Ok(copy.is_some_and(|copy| copy.is_zero()))
    }
}
