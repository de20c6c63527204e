// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! RAM blocks, and the guest memory that they make.

use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Span;
use crate::geometry::PageSize;
use crate::wire::BlockName;

/// Memory that a host lends to a migration.
///
/// # Safety
/// From creation to drop, `len()` bytes from `base()` on are mapped readable and writable, and
/// neither answer ever changes. Nobody holds a Rust reference to any of these bytes while a
/// migration runs: other accesses, of vCPUs, devices or other processes, go through raw pointers or
/// outside of Rust.
pub unsafe trait RamRegion: Send + Sync {
    /// The first byte.
    fn base(&self) -> NonNull<u8>;
    /// Length in bytes.
    fn len(&self) -> usize;
    /// Whether there is no byte at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether bytes may go while they are mapped, as those of a file that others can make shorter, or of a
    /// disk that fails. Whoever touches such a byte is killed (`SIGBUS`), so a source has the system copy
    /// these pages before it looks at them, which takes time: where it matters, seal a memfd instead
    /// (`F_SEAL_SHRINK`).
    fn may_shrink(&self) -> bool {
        false
    }
    /// Names the parts of a range of bytes that anybody may have touched, in order. All others are zero, and are not
    /// read: a source sends them as zero pages, a destination leaves them alone. By default all of it may have been
    /// touched. [`Untouched`] asks the system; a host may know by itself.
    ///
    /// A source asks once for each page, on the thread of the migration, in the first round and *after* the guest's
    /// writes are logged: a page that the guest writes to after the answer is in the log, and is sent again. Who
    /// answers from notes makes them after the log was started, too. A destination asks when it is given the memory,
    /// and from then on nobody else may write to it until all has come.
    ///
    /// [`Untouched`]: super::Untouched
    fn for_each_touched(&self, range: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
        act(range);
    }
}

/// One named piece of guest RAM, of fixed length. Cheap to clone.
#[derive(Clone)]
pub struct RamBlock {
    name: BlockName,
    base: NonNull<u8>,
    len: usize,
    /// Held so that the bytes stay mapped.
    region: Arc<dyn RamRegion>,
}

// SAFETY: `base` points into `region`, which is Send + Sync and is kept alive by the Arc; all access
// through it is raw and tolerates concurrent writers.
unsafe impl Send for RamBlock {}
// SAFETY: as for Send; no method hands out a reference to guest bytes.
unsafe impl Sync for RamBlock {}

impl RamBlock {
    /// Names a region. The name must be the one that the peer uses.
    ///
    /// # Errors
    /// A region that is empty or does not start at a multiple of 8 bytes.
    pub fn new(name: BlockName, region: Arc<dyn RamRegion>) -> Result<Self, MemoryError> {
        let (base, len) = (region.base(), region.len());
        if len == 0 || !base.cast::<u64>().is_aligned() {
            return Err(MemoryError::Region { block: name, len });
        }
        Ok(Self {
            name,
            base,
            len,
            region,
        })
    }

    /// The name that both sides know it by.
    pub fn name(&self) -> &BlockName {
        &self.name
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Never: a block has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// How many whole pages there are.
    pub(super) fn pages(&self, page_size: PageSize) -> usize {
        self.len / page_size.bytes()
    }

    /// Whether its bytes [may go](RamRegion::may_shrink) while they are mapped.
    pub fn may_shrink(&self) -> bool {
        self.region.may_shrink()
    }

    /// Names the parts of a range of bytes that anybody [may have touched](RamRegion::for_each_touched). None of them is
    /// empty or reaches out of the range.
    pub fn for_each_touched(&self, range: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
        let whole = range.start..range.end.min(self.len());
        if whole.is_empty() {
            return;
        }
        self.region.for_each_touched(whole.clone(), &mut |part| {
            let part = part.start.max(whole.start)..part.end.min(whole.end);
            if !part.is_empty() {
                act(part);
            }
        });
    }

    /// The `len` bytes at `offset`; `None` if they are not wholly inside the block.
    pub fn span(&self, offset: u64, len: usize) -> Option<Span<'_>> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len)?;
        if end > self.len {
            return None;
        }
        // SAFETY: start <= end <= self.len, so the pointer stays in (or one past) the region, which
        // the Arc in `self` keeps mapped for as long as the span borrows `self`.
        Some(unsafe { Span::new(self.base.add(start), len) })
    }
}

impl fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RamBlock({:?}, {:#x} bytes)", self.name, self.len)
    }
}

/// Which block of a [`GuestMemory`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockIndex(usize);

/// All RAM blocks of one guest that take part in a migration. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    page_size: PageSize,
    blocks: Arc<[RamBlock]>,
}

impl GuestMemory {
    /// Puts blocks together, in the order in which they are announced to the peer.
    ///
    /// # Errors
    /// Two blocks of one name, or a length that is not a multiple of the page size.
    pub fn new(page_size: PageSize, blocks: Vec<RamBlock>) -> Result<Self, MemoryError> {
        for (at, block) in blocks.iter().enumerate() {
            if !page_size.is_aligned(block.len()) {
                return Err(MemoryError::Length {
                    block: block.name.clone(),
                    len: block.len(),
                    page_size,
                });
            }
            if blocks
                .iter()
                .skip(at + 1)
                .any(|other| other.name == block.name)
            {
                return Err(MemoryError::DuplicateName {
                    block: block.name.clone(),
                });
            }
        }
        Ok(Self {
            page_size,
            blocks: blocks.into(),
        })
    }

    /// The size of a target page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &[RamBlock] {
        &self.blocks
    }

    /// Every block with its index, in order.
    pub fn indexed(&self) -> impl ExactSizeIterator<Item = (BlockIndex, &RamBlock)> {
        self.blocks
            .iter()
            .enumerate()
            .map(|(at, block)| (BlockIndex(at), block))
    }

    /// The block at `index`, which is one of this memory's; `None` if there are fewer blocks.
    pub fn block(&self, index: BlockIndex) -> Option<&RamBlock> {
        self.blocks.get(index.0)
    }

    /// Finds a block by the name in a packet.
    pub fn find(&self, name: &[u8]) -> Option<(BlockIndex, &RamBlock)> {
        self.indexed()
            .find(|(_, block)| block.name.as_str().as_bytes() == name)
    }

    /// Bytes of all blocks together.
    pub fn total_bytes(&self) -> u64 {
        self.blocks.iter().map(RamBlock::len).sum()
    }
}

impl BlockIndex {
    /// The block's place in [`GuestMemory::blocks`], for tables beside it.
    pub fn position(self) -> usize {
        self.0
    }
}

/// Guest memory that cannot be migrated as the host describes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// An empty region, or one that starts at an odd address.
    #[error(
        "RAM block {block:?}: a region of {len} bytes must be non-empty and start at a multiple of 8"
    )]
    Region {
        /// The block's name.
        block: BlockName,
        /// The region's length in bytes.
        len: usize,
    },
    /// A length that is not a multiple of the page size.
    #[error("RAM block {block:?}: length {len:#x} is not a multiple of the page size {page_size}")]
    Length {
        /// The block's name.
        block: BlockName,
        /// Its length in bytes.
        len: u64,
        /// The page size.
        page_size: PageSize,
    },
    /// Two blocks of one name.
    #[error("two RAM blocks are named {block:?}")]
    DuplicateName {
        /// The name.
        block: BlockName,
    },
}

#[cfg(test)]
mod tests {
    use super::super::Mapping;
    use super::*;

    fn block(name: &str, len: usize) -> RamBlock {
        let region = Arc::new(Mapping::anonymous(len).unwrap());
        RamBlock::new(BlockName::new(name).unwrap(), region).unwrap()
    }

    #[test]
    fn spans_stay_inside() {
        let block = block("ram", 0x3000);
        assert!(block.span(0x2000, 0x1000).is_some());
        assert!(block.span(0x3000, 0).is_some());
        for (offset, len) in [
            (0x2001, 0x1000),
            (0x3000, 1),
            (u64::MAX, 1),
            (1, usize::MAX),
        ] {
            assert!(block.span(offset, len).is_none(), "{offset:#x}+{len:#x}");
        }
    }

    #[test]
    fn memory_that_cannot_be() {
        let twice = vec![block("a", 0x1000), block("a", 0x1000)];
        assert!(matches!(
            GuestMemory::new(PageSize::X86, twice),
            Err(MemoryError::DuplicateName { .. })
        ));
        assert!(matches!(
            GuestMemory::new(PageSize::new(8192).unwrap(), vec![block("a", 0x1000)]),
            Err(MemoryError::Length { .. })
        ));
    }

    #[test]
    fn blocks_are_found_by_name() {
        let memory =
            GuestMemory::new(PageSize::X86, vec![block("a", 0x1000), block("b", 0x2000)]).unwrap();
        let (index, found) = memory.find(b"b").unwrap();
        assert_eq!(found.len(), 0x2000);
        assert_eq!(memory.block(index).unwrap().name().as_str(), "b");
        assert!(memory.find(b"c").is_none());
        assert_eq!(memory.total_bytes(), 0x3000);
    }
}
