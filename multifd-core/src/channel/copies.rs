// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Batches of pages that may go while they are read.

use super::failure::{caller, own_pages_error};
use super::populate::no_page;
use crate::error::Error;
use crate::geometry::PageSize;
use crate::memory::{CopyWindow, PageFault, RamBlock};
use crate::pages::{PageRuns, Pages};
use crate::wire::PageOffsets;

/// Copies of the pages of one batch, told apart into normal pages and zero pages.
pub(super) struct Copies<'m> {
    window: &'m CopyWindow,
    page_size: PageSize,
    runs: PageRuns<'m>,
    normal: Vec<u64>,
    zero: Vec<u64>,
    /// Where the copies of the normal pages are, in the window.
    places: Vec<u64>,
}

impl<'m> Copies<'m> {
    pub(super) fn new(window: &'m CopyWindow, page_size: PageSize) -> Self {
        let pages = page_size.pages_per_packet();
        Self {
            window,
            page_size,
            runs: PageRuns::new(page_size),
            normal: Vec::with_capacity(pages),
            zero: Vec::with_capacity(pages),
            places: Vec::with_capacity(pages),
        }
    }

    /// Copies the pages at some offsets of a block. All of them are normal pages, unless zero pages are
    /// looked for; `untouched` ones are then, and are not copied.
    ///
    /// # Errors
    /// The first page that cannot be read any more.
    pub(super) fn take(
        &mut self,
        block: &'m RamBlock,
        (offsets, untouched): (&[u64], &[u64]),
        zero_pages: bool,
    ) -> Result<(), Error> {
        self.runs.set(block, offsets).map_err(own_pages_error)?;
        let pages = self.runs.pages();
        let mut at = 0;
        for run in pages.runs() {
            if let Err(fault) = self.window.copy(*run, at) {
                return Err(self.first_fault(&pages, offsets, fault));
            }
            at += run.len();
        }
        self.sort(offsets, zero_pages);
        self.zero.extend_from_slice(untouched);
        Ok(())
    }

    /// The pages, as they are in their block.
    pub(super) fn pages(&self) -> PageOffsets<'_> {
        PageOffsets {
            normal: &self.normal,
            zero: &self.zero,
        }
    }

    /// Where the content of the normal pages is.
    pub(super) fn content(&self) -> (&'m RamBlock, &[u64]) {
        (self.window.block(), &self.places)
    }

    fn sort(&mut self, offsets: &[u64], zero_pages: bool) {
        self.normal.clear();
        self.zero.clear();
        self.places.clear();
        let places = (0..).step_by(self.page_size.bytes());
        for (offset, place) in offsets.iter().zip(places) {
            let copy = self.window.block().span(place, self.page_size.bytes());
            if zero_pages && copy.is_some_and(|copy| copy.is_zero()) {
                self.zero.push(*offset);
            } else {
                self.normal.push(*offset);
                self.places.push(place);
            }
        }
    }

    /// Finds the page of a run that could not be copied.
    fn first_fault(&self, pages: &Pages<'_>, offsets: &[u64], fault: PageFault) -> Error {
        let mut each = pages.iter().zip(offsets);
        let first = each.find_map(|(page, offset)| {
            let fault = self.window.copy(page, 0).err()?;
            Some(no_page(fault, *offset))
        });
        first.unwrap_or_else(|| caller(fault.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Fault;
    use crate::memory::Mapping;
    use crate::wire::BlockName;

    #[test]
    fn pages_are_copied_and_told_apart_until_one_is_missing() {
        let mapping = Arc::new(Mapping::shortened_file(6 * 4096, 5 * 4096).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), mapping).unwrap();
        for page in [1_u8, 2, 4] {
            let span = block.span(u64::from(page) * 4096, 4096).unwrap();
            span.copy_from(&[page; 4096]);
        }
        let window = CopyWindow::new(PageSize::X86).unwrap();
        let mut copies = Copies::new(&window, PageSize::X86);
        let offsets = [4, 0, 1, 2, 3].map(|page| page * 4096);
        copies.take(&block, (&offsets, &[]), true).unwrap();
        assert_eq!(copies.pages().normal, [4 * 4096, 4096, 2 * 4096]);
        assert_eq!(copies.pages().zero, [0, 3 * 4096]);
        let (content, places) = copies.content();
        let mut page = [0; 4096];
        for (place, want) in places.iter().zip([4, 1, 2]) {
            content.span(*place, 4096).unwrap().copy_to(&mut page);
            assert_eq!(page, [want; 4096]);
        }
        copies.take(&block, (&offsets, &[]), false).unwrap();
        assert_eq!(copies.pages().normal, offsets);
        assert_eq!(copies.content().1.len(), 5);

        let offsets = [3, 4, 5].map(|page| page * 4096);
        let error = copies.take(&block, (&offsets, &[]), true).unwrap_err();
        assert_eq!(
            (error.fault(), error.place().offset),
            (Fault::Caller, Some(5 * 4096))
        );
        assert!(error.cause().is::<PageFault>());
    }
}
