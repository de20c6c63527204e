// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where RAM blocks are in the guest's physical addresses.

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;

use super::DirtyBitmap;

/// A part of a RAM block, and where the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The guest-physical address of its first byte.
    pub address: u64,
    /// Bytes.
    pub len: u64,
    /// The block that it is of.
    pub block: BlockIndex,
    /// The offset of its first byte in the block.
    pub offset: u64,
}

/// Where all RAM blocks are in the guest's physical addresses.
#[derive(Clone, Debug)]
pub struct GuestMap {
    page_bytes: u64,
    /// Pages of each block.
    blocks: Vec<u64>,
    /// By address; no two overlap.
    placements: Vec<Placement>,
}

/// A part of memory that cannot be where it is said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{len:#x} bytes of a RAM block, from {offset:#x} on, at guest address {address:#x}: wanted {want}"
)]
pub struct PlacementError {
    /// The guest-physical address.
    pub address: u64,
    /// Bytes.
    pub len: u64,
    /// The offset in the block.
    pub offset: u64,
    /// What it has to be.
    pub want: &'static str,
}

/// An address at which no RAM block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the dirty log tells of a write at guest address {0:#x}, where no RAM block is")]
pub struct NoRam(pub u64);

impl GuestMap {
    /// Takes note of where the blocks of `memory` are. A part may be at several addresses.
    ///
    /// # Errors
    /// What is not whole pages inside of its block, or at an address that another part has.
    pub fn new(
        memory: &GuestMemory,
        placements: impl IntoIterator<Item = Placement>,
    ) -> Result<Self, PlacementError> {
        let mut placements: Vec<_> = placements.into_iter().collect();
        placements.sort_by_key(|placement| placement.address);
        let mut free = Some(0);
        for placement in &placements {
            placement.check(memory)?;
            if free.is_none_or(|free| placement.address < free) {
                return Err(placement.wrong("an address that no other part has"));
            }
            free = placement.address.checked_add(placement.len);
        }
        let page_bytes = memory.page_size().bytes_u64();
        let blocks = memory.blocks().iter();
        Ok(Self {
            page_bytes,
            blocks: blocks.map(|block| block.len() / page_bytes).collect(),
            placements,
        })
    }

    /// Bitmaps of all blocks, with no page dirty.
    pub(super) fn clean(&self) -> Vec<DirtyBitmap> {
        self.blocks
            .iter()
            .copied()
            .map(DirtyBitmap::clean)
            .collect()
    }

    /// Marks the pages of `len` bytes from `address` on in the bitmaps of their blocks.
    pub(super) fn mark(
        &self,
        dirty: &mut [DirtyBitmap],
        address: u64,
        len: u64,
    ) -> Result<(), NoRam> {
        let end = address.saturating_add(len);
        let mut at = address;
        while at < end {
            let behind = self.placements.partition_point(|part| part.address <= at);
            let part = behind
                .checked_sub(1)
                .and_then(|part| self.placements.get(part));
            let part = part.filter(|part| at - part.address < part.len);
            let part = part.ok_or(NoRam(at))?;
            let inside = at - part.address;
            let bytes = (part.len - inside).min(end - at);
            let first = (part.offset + inside) / self.page_bytes;
            let last = (part.offset + inside + bytes - 1) / self.page_bytes;
            if let Some(block) = dirty.get_mut(part.block.position()) {
                block.mark(first, last - first + 1);
            }
            at += bytes;
        }
        Ok(())
    }
}

impl Placement {
    fn check(&self, memory: &GuestMemory) -> Result<(), PlacementError> {
        let block = memory.block(self.block);
        let block = block.ok_or_else(|| self.wrong("a block of this guest memory"))?;
        let page_size = memory.page_size();
        if [self.address, self.len, self.offset]
            .iter()
            .any(|number| !page_size.is_aligned(*number))
        {
            return Err(self.wrong("whole pages"));
        }
        let end = self.offset.checked_add(self.len);
        if self.len == 0 || end.is_none_or(|end| end > block.len()) {
            return Err(self.wrong("at least one page, inside of the block"));
        }
        match self.address.checked_add(self.len) {
            Some(_) => Ok(()),
            None => Err(self.wrong("an end below 2^64")),
        }
    }

    fn wrong(&self, want: &'static str) -> PlacementError {
        PlacementError {
            address: self.address,
            len: self.len,
            offset: self.offset,
            want,
        }
    }
}
