// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pages are asked for before they are touched: see [`crate::memory::PageFault`].

use crate::error::{Error, Fault, Place};
use crate::memory::{Access, PageFault};
use crate::pages::Pages;

/// Has the system provide pages, which are at these offsets of their block. Returns whether it can.
///
/// # Errors
/// The first page that is not there and cannot be.
pub(super) fn populate(pages: &Pages<'_>, offsets: &[u64], access: Access) -> Result<bool, Error> {
    for run in pages.runs() {
        match run.populate(access) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(fault) => return Err(first_fault(pages, offsets, fault)),
        }
    }
    Ok(true)
}

/// The error of a page at an offset of its block.
pub(super) fn no_page(fault: PageFault, offset: u64) -> Error {
    Error::new(Fault::Caller, fault).at(Place::default().offset(offset))
}

/// Finds the page of a run that the system could not provide.
fn first_fault(pages: &Pages<'_>, offsets: &[u64], fault: PageFault) -> Error {
    let mut each = pages.iter().zip(offsets);
    let first = each.find_map(|(page, offset)| {
        let fault = page.populate(fault.access()).err()?;
        Some(no_page(fault, *offset))
    });
    first.unwrap_or_else(|| Error::new(Fault::Caller, fault))
}
