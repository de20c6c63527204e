// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The pages of a packet, where they hold still.

use std::fmt;

use super::Pages;

/// Private memory for a copy of the pages of one packet: the guest goes on writing to its own.
///
/// It begins where a page may begin. The C library copies with the processor's string moves, and those are several
/// times slower where the target lies a little ahead of the source, counted modulo 4 KiB. Pages begin at a multiple of
/// that, and what an allocator hands out in this size begins 16 bytes behind one.
pub struct PageCopy {
    bytes: Vec<u8>,
    start: usize,
}

impl PageCopy {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let bytes = vec![0; bytes + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        Self {
            start: start.min(ALIGNMENT),
            bytes,
        }
    }

    /// How many bytes there is room for.
    pub fn capacity(&self) -> usize {
        self.bytes.len() - ALIGNMENT
    }

    /// Copies all pages, in order, as much as there is room for, and returns the copy.
    pub fn fill(&mut self, pages: &Pages<'_>) -> &[u8] {
        let capacity = self.capacity();
        let (_, room) = self.bytes.split_at_mut(self.start);
        let (room, _) = room.split_at_mut(capacity);
        let copied = pages.copy_to(room);
        room.split_at(copied).0
    }
}

impl fmt::Debug for PageCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageCopy({} bytes)", self.capacity())
    }
}

/// What processors count in.
const ALIGNMENT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::geometry::{PACKET_BYTES, PageSize};
    use crate::memory::{Mapping, RamBlock};
    use crate::pages::PageRuns;
    use crate::wire::BlockName;

    #[test]
    fn it_holds_the_pages_in_order_and_begins_as_one() {
        let region = Arc::new(Mapping::anonymous(8 * 4096).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        for (page, byte) in [(1, 7), (2, 8), (5, 9)] {
            block
                .span(page * 4096, 4096)
                .unwrap()
                .copy_from(&[byte; 4096]);
        }
        let mut runs = PageRuns::new(PageSize::X86);
        runs.set(&block, &[5 * 4096, 4096, 2 * 4096]).unwrap();
        let mut copy = PageCopy::new(PACKET_BYTES);
        let content = copy.fill(&runs.pages());
        assert_eq!(content.len(), 3 * 4096);
        assert_eq!(content.as_ptr().addr() % 4096, 0);
        for (page, byte) in content.chunks(4096).zip([9, 7, 8]) {
            assert!(page.iter().all(|got| *got == byte), "{byte}");
        }

        let mut short = PageCopy::new(5000);
        assert_eq!(short.capacity(), 5000);
        assert_eq!(short.fill(&runs.pages()).len(), 5000);
    }
}
