// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The machine's RAM.

use std::fs::File;
use std::num::NonZeroUsize;

use multifd_core::{GuestMemory, PageSize};
use multifd_kvm::vm_memory as adapter;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes as _, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use crate::Error;

/// RAM in a file: from address 0 on, with a hole between 3 and 4 GiB where machines have no memory.
///
/// It has two views, which are the same memory where a guest begins. Where one comes in, the migration
/// writes to the file, and the guest then runs on a private view of it: its writes do not reach the
/// file, so whoever holds that can still compare what arrived with what was sent.
#[derive(Clone, Debug)]
pub struct Memory {
    /// What vCPUs and devices use; whatever is written through it is marked in its bitmap.
    guest: GuestMemoryMmap<AtomicBitmap>,
    /// What the migration reads or fills.
    migrated: GuestMemory,
    len: u64,
}

impl Memory {
    /// All of a file as the memory of a guest that begins here.
    ///
    /// # Errors
    /// A file that cannot be mapped, or whose length is not whole pages.
    pub fn new(file: &File) -> Result<Self, Error> {
        let guest = map(file, libc::MAP_SHARED)?;
        Self::of(guest.clone(), &guest, file)
    }

    /// All of a file as the memory of a guest that comes here.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn incoming(file: &File) -> Result<Self, Error> {
        let guest = map(file, libc::MAP_PRIVATE)?;
        Self::of(guest, &map(file, libc::MAP_SHARED)?, file)
    }

    fn of(
        guest: GuestMemoryMmap<AtomicBitmap>,
        migrated: &GuestMemoryMmap<AtomicBitmap>,
        file: &File,
    ) -> Result<Self, Error> {
        let len = length(file)?;
        let names = ranges(len).map(|range| range.name);
        let migrated =
            adapter::sparse_guest_memory(migrated, PageSize::X86, names).map_err(Error::memory)?;
        Ok(Self {
            guest,
            migrated,
            len,
        })
    }

    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        self.len
    }

    pub(crate) fn guest(&self) -> &GuestMemoryMmap<AtomicBitmap> {
        &self.guest
    }

    pub(crate) fn migrated(&self) -> &GuestMemory {
        &self.migrated
    }

    pub(crate) fn load(&self, linear: u64) -> Result<u64, Error> {
        self.guest.read_obj(address(linear)).map_err(Error::memory)
    }

    pub(crate) fn store(&self, linear: u64, value: u64) -> Result<(), Error> {
        self.guest
            .write_obj(value, address(linear))
            .map_err(Error::memory)
    }

    pub(crate) fn write(&self, linear: u64, bytes: &[u8]) -> Result<(), Error> {
        self.guest
            .write_slice(bytes, address(linear))
            .map_err(Error::memory)
    }
}

/// Where a byte of RAM is in the guest's physical addresses. The guest itself sees no hole: its page
/// tables map all RAM in a row.
pub(crate) fn address(linear: u64) -> GuestAddress {
    GuestAddress(if linear < HOLE {
        linear
    } else {
        linear - HOLE + ABOVE_HOLE
    })
}

/// A part of RAM without a hole.
struct Range {
    name: &'static str,
    /// Where it begins in the file.
    linear: u64,
    len: u64,
}

fn ranges(len: u64) -> impl Iterator<Item = Range> {
    let below = Range {
        name: "ram",
        linear: 0,
        len: len.min(HOLE),
    };
    let above = Range {
        name: "ram-above-4g",
        linear: HOLE,
        len: len.saturating_sub(HOLE),
    };
    [below, above].into_iter().filter(|range| range.len > 0)
}

fn length(file: &File) -> Result<u64, Error> {
    let metadata = file
        .metadata()
        .map_err(Error::host("look at guest memory"))?;
    Ok(metadata.len())
}

fn map(file: &File, sharing: i32) -> Result<GuestMemoryMmap<AtomicBitmap>, Error> {
    let regions = ranges(length(file)?).map(|range| region(file, &range, sharing));
    let regions = regions.collect::<Result<_, _>>()?;
    GuestMemoryMmap::from_regions(regions).map_err(Error::memory)
}

fn region(
    file: &File,
    range: &Range,
    sharing: i32,
) -> Result<GuestRegionMmap<AtomicBitmap>, Error> {
    let len = usize::try_from(range.len).map_err(Error::memory)?;
    let page = NonZeroUsize::MIN.saturating_add(PageSize::X86.bytes() - 1);
    let file = file
        .try_clone()
        .map_err(Error::host("share guest memory"))?;
    let mapping = MmapRegionBuilder::new_with_bitmap(len, AtomicBitmap::new(len, page))
        .with_file_offset(FileOffset::new(file, range.linear))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_NORESERVE | sharing)
        .build()
        .map_err(Error::memory)?;
    let region = GuestRegionMmap::new(mapping, address(range.linear));
    region.ok_or_else(|| Error::Config("guest memory is too large".into()))
}

/// Where the hole begins, and where RAM goes on behind it.
const HOLE: u64 = 3 << 30;
const ABOVE_HOLE: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn there_is_a_hole_where_machines_have_one() {
        let memory = Memory::new(&file((3 << 30) + 0x2000)).unwrap();
        let blocks = memory.migrated().blocks();
        let names: Vec<_> = blocks.iter().map(|block| block.name().as_str()).collect();
        assert_eq!(names, ["ram", "ram-above-4g"]);
        assert_eq!(memory.migrated().total_bytes(), memory.size());
        assert_eq!(address((3 << 30) - 1).0, (3 << 30) - 1);
        assert_eq!(address(3 << 30).0, 4 << 30);
        memory.store((3 << 30) + 0x1000, 7).unwrap();
        assert_eq!(memory.load((3 << 30) + 0x1000).unwrap(), 7);
        assert!(memory.store((3 << 30) + 0x2000, 7).is_err());
    }

    #[test]
    fn what_a_guest_writes_that_came_in_is_its_own() {
        let file = file(0x2000);
        let memory = Memory::incoming(&file).unwrap();
        let block = &memory.migrated().blocks()[0];
        block.span(0, 8).unwrap().copy_from(&5_u64.to_le_bytes());
        assert_eq!(memory.load(0).unwrap(), 5);
        memory.store(0, 6).unwrap();
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(u64::from_le_bytes(bytes), 5);
        assert_eq!(memory.load(0).unwrap(), 6);
    }
}
