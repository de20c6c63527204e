// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest memories.

use std::sync::Arc;

use multifd_core::memory::{BlockIndex, Mapping};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_tests::conformance::{Kind, PageSource};

/// A memory of blocks with a name and a number of pages.
pub(crate) fn memory(page_size: PageSize, blocks: &[(&str, usize)]) -> GuestMemory {
    let blocks = blocks.iter().map(|(name, pages)| {
        let region = Mapping::anonymous(pages * page_size.bytes()).unwrap();
        RamBlock::new(BlockName::new(name).unwrap(), Arc::new(region)).unwrap()
    });
    GuestMemory::new(page_size, blocks.collect()).unwrap()
}

/// Every page of a memory, in order.
pub(crate) fn pages(memory: &GuestMemory) -> Vec<(BlockIndex, u64)> {
    let page = memory.page_size().bytes();
    let offsets = |len| (0..len).step_by(page);
    memory
        .indexed()
        .flat_map(|(index, block)| offsets(block.len()).map(move |offset| (index, offset)))
        .collect()
}

/// Fills pages with content of every kind, zero pages among them.
pub(crate) fn fill(memory: &GuestMemory, pages: &[(BlockIndex, u64)], source: &mut PageSource) {
    let mut content = vec![0; memory.page_size().bytes()];
    for page in pages {
        let kind = Kind::ALL[source.below(Kind::ALL.len())];
        source.fill(kind, &mut content);
        write(memory, *page, &content);
    }
}

/// Fills every byte of a memory.
pub(crate) fn fill_all(memory: &GuestMemory, byte: u8) {
    for page in pages(memory) {
        write(memory, page, &vec![byte; memory.page_size().bytes()]);
    }
}

/// Writes to the start of a page.
pub(crate) fn write(memory: &GuestMemory, (block, offset): (BlockIndex, u64), content: &[u8]) {
    let block = memory.block(block).unwrap();
    block
        .span(offset, content.len())
        .unwrap()
        .copy_from(content);
}

/// The content of a page.
pub(crate) fn read(memory: &GuestMemory, (block, offset): (BlockIndex, u64)) -> Vec<u8> {
    let mut content = vec![0; memory.page_size().bytes()];
    let block = memory.block(block).unwrap();
    block
        .span(offset, content.len())
        .unwrap()
        .copy_to(&mut content);
    content
}

#[track_caller]
pub(crate) fn assert_same(got: &GuestMemory, want: &GuestMemory) {
    for page in pages(want) {
        assert!(read(got, page) == read(want, page), "{page:x?} differs");
    }
}
