// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory that vm-memory has mapped.

use std::io;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::Arc;

use multifd_core::memory::{RamRegion, Untouched};
use vm_memory::bitmap::Bitmap;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{GuestRegionMmap, MmapRegion};

// With vm-memory's feature `xen`, regions are mapped only while they are accessed, and nothing here
// would be right. There is no builder then, and this does not compile.
const _: fn(usize) -> MmapRegionBuilder = MmapRegionBuilder::new;

/// A region of vm-memory's, kept mapped.
pub(crate) struct Region<B> {
    mapping: Arc<MmapRegion<B>>,
    base: NonNull<u8>,
    untouched: Untouched,
}

// SAFETY: `base` points into `mapping`, which is Send if its bitmap is and is kept alive by the Arc;
// nothing here gives access to the bytes but their address.
unsafe impl<B: Send + Sync> Send for Region<B> {}
// SAFETY: as for Send.
unsafe impl<B: Send + Sync> Sync for Region<B> {}

impl<B: Bitmap> Region<B> {
    /// `None` for a region that is not readable and writable.
    pub(crate) fn new(region: &GuestRegionMmap<B>) -> Option<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        if region.prot() & access != access {
            return None;
        }
        let mapping = region.get_mmap();
        let base = NonNull::new(mapping.as_ptr())?;
        Some(Self {
            mapping,
            base,
            untouched: Untouched::default(),
        })
    }

    /// From now on finds out what of the memory nobody has touched.
    pub(crate) fn learn_untouched(&mut self) -> io::Result<()> {
        let (base, len) = (self.base, self.mapping.size());
        let is_shared = self.mapping.flags() & libc::MAP_SHARED != 0;
        self.untouched = match self.mapping.file_offset() {
            Some(file) if is_shared => Untouched::of_file(file.file().as_fd(), file.start())?,
            Some(file) => {
                Untouched::of_private_file(file.file().as_fd(), file.start(), (base, len))?
            }
            None => Untouched::of_anonymous(base, len)?,
        };
        Ok(())
    }
}

// SAFETY: a region is `size()` bytes that are mapped from its creation to its drop, at an address that
// never changes: by vm-memory, or by whoever made it of a raw address and promised the same. `new` has
// checked that they are readable and writable. vm-memory itself hands out no references to guest
// bytes: its accesses are volatile.
unsafe impl<B: Bitmap + Send + Sync> RamRegion for Region<B> {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.mapping.size()
    }

    fn for_each_touched(&self, range: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
        self.untouched.for_each_touched(range, act);
    }
}
