// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guest memory of the crate `vm-memory`.
//!
//! ```
//! use multifd_kvm::vm_memory::{self as adapter, VmMemoryLog};
//! use multifd_core::PageSize;
//! use vm_memory::bitmap::AtomicBitmap;
//! use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The VMM's own: one region below a hole in the guest's addresses, one above.
//! let ranges = [(GuestAddress(0), 3 << 20), (GuestAddress(4 << 20), 1 << 20)];
//! let mmap = GuestMemoryMmap::<AtomicBitmap>::from_ranges(&ranges)?;
//!
//! let memory = adapter::guest_memory(&mmap, PageSize::X86, ["ram", "ram-above"])?;
//! let devices = VmMemoryLog::new(&mmap, PageSize::X86)?;
//! mmap.write_obj(7_u8, GuestAddress(0x5000))?; // marked by vm-memory itself
//! # assert_eq!(memory.total_bytes(), 4 << 20);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "kvm")]
mod slots;

#[cfg(feature = "kvm")]
pub use slots::slots;

use std::sync::Arc;

use multifd_core::memory::{BlockIndex, MemoryError};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::dirty::DirtyBitmap;
use multifd_migration::{DirtyLog, HostError};
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{GuestMemoryBackend as _, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::raw::Region;

/// Why memory of `vm-memory` cannot be migrated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmMemoryError {
    /// Not one name for each region.
    #[error("the guest memory has {regions} regions, and {names} names were given")]
    Names {
        /// How many regions there are.
        regions: usize,
        /// How many names were given.
        names: usize,
    },
    /// A name that cannot be on the wire.
    #[error("{0:?} is not a valid RAM block name, wanted 1 to 255 bytes")]
    Name(String),
    /// A region that is not readable and writable.
    #[error("the region of RAM block {0} is not readable and writable")]
    Access(BlockName),
    /// A bitmap whose pages are not the guest's.
    #[error(
        "the bitmap of a region of {len:#x} bytes has {got} pages, wanted pages of {page_size}"
    )]
    Bitmap {
        /// Bytes of the region.
        len: usize,
        /// Pages of its bitmap.
        got: usize,
        /// The guest's.
        page_size: PageSize,
    },
    /// Memory that the engine cannot take.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// The guest memory of a VMM, one RAM block per region, in the order of guest addresses. The names are
/// the ones that the peer uses. The regions stay mapped for as long as the answer or a clone lives.
///
/// # Errors
/// Names that are too few, too many, or wrong; a region that cannot be migrated.
pub fn guest_memory<'n, B: Bitmap + Send + Sync + 'static>(
    memory: &GuestMemoryMmap<B>,
    page_size: PageSize,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<GuestMemory, VmMemoryError> {
    blocks(memory, page_size, names, |_| ())
}

/// As [`guest_memory`], and what nobody has touched is neither read at a source nor allocated at a destination: see
/// [`Untouched`](multifd_core::memory::Untouched), which also says for what memory this is not. A region of which the
/// system cannot tell, as one of hugetlbfs, is read.
///
/// # Errors
/// As [`guest_memory`].
pub fn sparse_guest_memory<'n, B: Bitmap + Send + Sync + 'static>(
    memory: &GuestMemoryMmap<B>,
    page_size: PageSize,
    names: impl IntoIterator<Item = &'n str>,
) -> Result<GuestMemory, VmMemoryError> {
    // What it cannot tell is read, which is right and slower.
    blocks(memory, page_size, names, |region| {
        drop(region.learn_untouched());
    })
}

fn blocks<'n, B: Bitmap + Send + Sync + 'static>(
    memory: &GuestMemoryMmap<B>,
    page_size: PageSize,
    names: impl IntoIterator<Item = &'n str>,
    prepare: impl Fn(&mut Region<B>),
) -> Result<GuestMemory, VmMemoryError> {
    let names: Vec<_> = names.into_iter().collect();
    if names.len() != memory.num_regions() {
        return Err(VmMemoryError::Names {
            regions: memory.num_regions(),
            names: names.len(),
        });
    }
    let blocks = memory.iter().zip(names).map(|(region, name)| {
        let name = BlockName::new(name).ok_or_else(|| VmMemoryError::Name(name.into()))?;
        block(region, name, &prepare)
    });
    let blocks = blocks.collect::<Result<_, _>>()?;
    Ok(GuestMemory::new(page_size, blocks)?)
}

fn block<B: Bitmap + Send + Sync + 'static>(
    region: &GuestRegionMmap<B>,
    name: BlockName,
    prepare: impl Fn(&mut Region<B>),
) -> Result<RamBlock, VmMemoryError> {
    let region = Region::new(region);
    let mut region = region.ok_or_else(|| VmMemoryError::Access(name.clone()))?;
    prepare(&mut region);
    Ok(RamBlock::new(name, Arc::new(region))?)
}

/// The bitmap in which `vm-memory` marks what is written through it, as a log: what the VMM and its
/// devices write, or a guest that is no KVM guest.
#[derive(Clone, Debug)]
pub struct VmMemoryLog {
    regions: Vec<Arc<MmapRegion<AtomicBitmap>>>,
}

impl VmMemoryLog {
    /// The log of all regions.
    ///
    /// # Errors
    /// A bitmap whose pages are not the guest's.
    pub fn new(
        memory: &GuestMemoryMmap<AtomicBitmap>,
        page_size: PageSize,
    ) -> Result<Self, VmMemoryError> {
        let regions: Vec<_> = memory.iter().map(GuestRegionMmap::get_mmap).collect();
        for region in &regions {
            let (len, got) = (region.size(), region.bitmap().len());
            if got != len.div_ceil(page_size.bytes()) {
                return Err(VmMemoryError::Bitmap {
                    len,
                    got,
                    page_size,
                });
            }
        }
        Ok(Self { regions })
    }
}

impl DirtyLog for VmMemoryLog {
    fn start(&mut self) -> Result<(), HostError> {
        for region in &self.regions {
            region.bitmap().reset();
        }
        Ok(())
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        if let Some(region) = self.regions.get(block.position()) {
            dirty.merge(0, &region.bitmap().get_and_reset());
        }
        Ok(())
    }

    fn stop(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use vm_memory::{Bytes as _, FileOffset, GuestAddress};

    use super::*;

    fn memory() -> GuestMemoryMmap<AtomicBitmap> {
        let ranges = [
            (GuestAddress(0), 0x40_0000),
            (GuestAddress(0x100_0000), 0x3000),
        ];
        GuestMemoryMmap::from_ranges(&ranges).unwrap()
    }

    fn dirty(log: &mut VmMemoryLog, block: BlockIndex, pages: u64) -> Vec<u64> {
        let mut dirty = DirtyBitmap::clean(pages);
        log.harvest(block, &mut dirty).unwrap();
        (0..pages).filter(|page| dirty.contains(*page)).collect()
    }

    #[test]
    fn the_bytes_are_the_same_and_stay() {
        let vmm = memory();
        vmm.write_obj(0x1234_5678_u32, GuestAddress(0x100_1000))
            .unwrap();
        let memory = guest_memory(&vmm, PageSize::X86, ["low", "high"]).unwrap();
        drop(vmm);
        let (_, high) = memory.find(b"high").unwrap();
        assert_eq!(high.len(), 0x3000);
        let mut bytes = [0; 4];
        high.span(0x1000, 4).unwrap().copy_to(&mut bytes);
        assert_eq!(u32::from_le_bytes(bytes), 0x1234_5678);
    }

    #[test]
    fn what_nobody_has_touched_is_known_if_it_is_asked_for() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x6000).unwrap();
        let region = |sharing: i32| {
            let mapping = vm_memory::mmap::MmapRegionBuilder::new(0x4000)
                .with_file_offset(FileOffset::new(file.try_clone().unwrap(), 0x2000))
                .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
                .with_mmap_flags(libc::MAP_NORESERVE | sharing)
                .build();
            let region = GuestRegionMmap::new(mapping.unwrap(), GuestAddress(0)).unwrap();
            GuestMemoryMmap::<()>::from_regions(vec![region]).unwrap()
        };
        let anonymous = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x4000)]).unwrap();
        let shared = region(libc::MAP_SHARED);
        for vmm in [&shared, &region(libc::MAP_PRIVATE), &anonymous] {
            vmm.write_obj(1_u8, GuestAddress(0x1000)).unwrap();
            let touched = |memory: GuestMemory| {
                let mut touched = Vec::new();
                let block = &memory.blocks()[0];
                block.for_each_touched(0..0x4000, &mut |part| touched.push(part));
                touched
            };
            let (page, all) = (0x1000..0x2000, 0..0x4000);
            let plain = guest_memory(vmm, PageSize::X86, ["ram"]).unwrap();
            assert_eq!(touched(plain), std::slice::from_ref(&all));
            let got = touched(sparse_guest_memory(vmm, PageSize::X86, ["ram"]).unwrap());
            // Other file systems than the common ones are not asked.
            assert!(got == [page] || got == [all], "{got:?}");
        }
    }

    #[test]
    fn writes_through_vm_memory_are_logged_once() {
        let vmm = memory();
        let memory = guest_memory(&vmm, PageSize::X86, ["low", "high"]).unwrap();
        let [(low, _), (high, _)] = memory.indexed().collect::<Vec<_>>().try_into().unwrap();
        let mut log = VmMemoryLog::new(&vmm, PageSize::X86).unwrap();
        vmm.write_obj(1_u8, GuestAddress(0)).unwrap();
        log.start().unwrap();
        // Over the border of two pages.
        vmm.write_slice(&[1; 2], GuestAddress(0x0fff)).unwrap();
        vmm.write_obj(1_u8, GuestAddress(0x100_2000)).unwrap();
        assert_eq!(dirty(&mut log, low, 0x400), [0, 1]);
        assert_eq!(dirty(&mut log, high, 3), [2]);
        assert!(dirty(&mut log, low, 0x400).is_empty());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let vmm = memory();
        let names = guest_memory(&vmm, PageSize::X86, ["low"]).unwrap_err();
        assert!(names.to_string().contains("2 regions"), "{names}");
        let name = guest_memory(&vmm, PageSize::X86, ["low", ""]).unwrap_err();
        assert!(matches!(name, VmMemoryError::Name(_)), "{name}");
        let read_only = MmapRegion::build(
            None,
            0x1000,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        let read_only = GuestRegionMmap::new(read_only.unwrap(), GuestAddress(0)).unwrap();
        let read_only = GuestMemoryMmap::<()>::from_regions(vec![read_only]).unwrap();
        let access = guest_memory(&read_only, PageSize::X86, ["rom"]).unwrap_err();
        assert!(matches!(access, VmMemoryError::Access(_)), "{access}");

        let bitmap = AtomicBitmap::new(0x40_0000, NonZeroUsize::new(0x20_0000).unwrap());
        let huge = vm_memory::mmap::MmapRegionBuilder::new_with_bitmap(0x40_0000, bitmap)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .build();
        let huge = GuestRegionMmap::new(huge.unwrap(), GuestAddress(0)).unwrap();
        let huge = GuestMemoryMmap::from_regions(vec![huge]).unwrap();
        assert!(VmMemoryLog::new(&huge, PageSize::X86).is_err());
    }
}
