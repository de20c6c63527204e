// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One bit for each page of a guest.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{BlockIndex, GuestMemory, RamBlock};
use crate::geometry::PageSize;

/// Says one thing of each page of the guest, such as that it has been received. Channels mark pages
/// concurrently.
#[derive(Debug)]
pub struct PageBitmap {
    page_size: PageSize,
    blocks: Vec<Box<[AtomicU64]>>,
}

impl PageBitmap {
    /// A bitmap for `memory`, with no page marked.
    pub fn new(memory: &GuestMemory) -> Self {
        let page_size = memory.page_size();
        let words = |block: &RamBlock| block.pages(page_size).div_ceil(64);
        let blocks = memory
            .blocks()
            .iter()
            .map(|block| (0..words(block)).map(|_| AtomicU64::new(0)).collect())
            .collect();
        Self { page_size, blocks }
    }

    /// Marks the page at `offset` and returns whether it was marked before. A page outside of the
    /// memory is never marked.
    pub fn mark(&self, block: BlockIndex, offset: u64) -> bool {
        let (word, bit) = self.position(offset);
        self.word(block, word)
            .is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit != 0)
    }

    /// Marks all pages that a range of bytes lies in.
    pub(crate) fn mark_range(&self, block: BlockIndex, range: &Range<u64>) {
        let page_size = self.page_size.bytes_u64();
        let (mut page, end) = (range.start / page_size, range.end.div_ceil(page_size));
        while page < end {
            let count = (64 - page % 64).min(end - page);
            if let Some(word) = self.word(block, page / 64) {
                let bits = (u64::MAX >> (64 - count)) << (page % 64);
                word.fetch_or(bits, Ordering::Relaxed);
            }
            page += count;
        }
    }

    /// Whether the page at `offset` is marked.
    pub fn contains(&self, block: BlockIndex, offset: u64) -> bool {
        let (word, bit) = self.position(offset);
        self.word(block, word)
            .is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// The pages of a block of `len` bytes that are not marked, in their order: bytes of whole runs of them.
    pub fn unmarked(&self, block: BlockIndex, len: u64) -> impl Iterator<Item = Range<u64>> {
        let page_size = self.page_size.bytes_u64();
        let pages = len / page_size;
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = self.next(block, at..pages, false)?;
            at = self.next(block, start..pages, true).unwrap_or(pages);
            Some(start * page_size..at * page_size)
        })
    }

    /// The first of these pages that is marked, or is not.
    fn next(&self, block: BlockIndex, pages: Range<u64>, marked: bool) -> Option<u64> {
        let mut at = pages.start;
        while at < pages.end {
            let word = self.word(block, at / 64)?.load(Ordering::Relaxed);
            let wanted = (if marked { word } else { !word }) >> (at % 64);
            if wanted != 0 {
                let found = at + u64::from(wanted.trailing_zeros());
                return Some(found).filter(|page| *page < pages.end);
            }
            at = (at / 64 + 1) * 64;
        }
        None
    }

    /// How many pages are marked.
    pub fn count(&self) -> u64 {
        let words = self.blocks.iter().flat_map(|block| block.iter());
        words
            .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
            .sum()
    }

    fn position(&self, offset: u64) -> (u64, u64) {
        let page = offset / self.page_size.bytes_u64();
        (page / 64, 1 << (page % 64))
    }

    fn word(&self, block: BlockIndex, word: u64) -> Option<&AtomicU64> {
        self.blocks
            .get(block.position())?
            .get(usize::try_from(word).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Mapping;
    use super::*;
    use crate::wire::BlockName;

    #[test]
    fn pages_are_marked_once() {
        let region = Arc::new(Mapping::anonymous(0x1000 * 65).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let memory = GuestMemory::new(PageSize::X86, vec![block]).unwrap();
        let (ram, _) = memory.find(b"ram").unwrap();
        let received = PageBitmap::new(&memory);
        for offset in [0, 0x1000 * 63, 0x1000 * 64] {
            assert!(!received.contains(ram, offset));
            assert!(!received.mark(ram, offset));
            assert!(received.mark(ram, offset));
        }
        assert_eq!(received.count(), 3);
        assert!(!received.contains(ram, 0x1000));
        let len = 0x1000 * 65;
        let mut unmarked = received.unmarked(ram, len);
        assert_eq!(unmarked.next(), Some(0x1000..0x1000 * 63));
        assert_eq!(unmarked.next(), None);
    }

    #[test]
    fn a_range_is_all_pages_that_it_lies_in() {
        let region = Arc::new(Mapping::anonymous(0x1000 * 200).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let memory = GuestMemory::new(PageSize::X86, vec![block]).unwrap();
        let (ram, _) = memory.find(b"ram").unwrap();
        for (range, pages) in [
            (0..0, 0..0),
            (0xfff..0x1001, 0..2),
            (0x3f000..0x41000, 63..65),
            (0x40000..0x80000, 64..128),
            (0x1000..0xc8000, 1..200),
        ] {
            let bitmap = PageBitmap::new(&memory);
            bitmap.mark_range(ram, &range);
            for page in 0..200 {
                let marked = bitmap.contains(ram, page * 0x1000);
                assert_eq!(marked, pages.contains(&page), "{page} of {range:?}");
            }
        }
    }

    #[test]
    fn runs_that_are_not_marked_are_what_is_left() {
        let region = Arc::new(Mapping::anonymous(0x1000 * 130).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let memory = GuestMemory::new(PageSize::X86, vec![block]).unwrap();
        let (ram, block) = memory.find(b"ram").unwrap();
        for keep in [1, 2, 3, 5, 64, 65, 129, 130, 1000] {
            let received = PageBitmap::new(&memory);
            let is_marked = |page: u64| page % keep == keep / 2;
            for page in (0..130).filter(|page| is_marked(*page)) {
                received.mark(ram, page * 0x1000);
            }
            let mut left: Vec<u64> = (0..130).filter(|page| !is_marked(*page)).collect();
            left.reverse();
            for run in received.unmarked(ram, block.len()) {
                assert!(!run.is_empty());
                for offset in run.step_by(0x1000) {
                    assert_eq!(left.pop(), Some(offset / 0x1000), "{keep}");
                }
            }
            assert_eq!(left, [0; 0], "{keep}");
        }
    }
}
