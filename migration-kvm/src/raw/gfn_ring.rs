//! A vCPU's dirty ring, which the kernel shares.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::page_size;

/// The ring of one vCPU, mapped.
#[derive(Debug)]
pub(crate) struct GfnRing {
    entries: NonNull<Gfn>,
    /// A power of two.
    count: u32,
    /// Of the next entry to take; counts on past the ring's end.
    next: u32,
}

/// A page that was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The slot's number, with its address space in the upper half.
    pub(crate) slot: u32,
    /// Number of the page in the slot.
    pub(crate) page: u64,
}

/// `struct kvm_dirty_gfn`. The kernel fills it and sets `flags` to DIRTY last; who takes it sets
/// `flags` to RESET last; then it is the kernel's again.
#[repr(C)]
struct Gfn {
    flags: AtomicU32,
    slot: AtomicU32,
    offset: AtomicU64,
}

// SAFETY: the mapping belongs to the process, not to a thread, and its fields are atomic.
unsafe impl Send for GfnRing {}

impl GfnRing {
    /// Bytes of an entry.
    pub(crate) const ENTRY_BYTES: u64 = size_of::<Gfn>() as u64;

    /// Maps the ring of a vCPU; `count` is what the VM's rings were set to.
    pub(crate) fn map(vcpu: &impl AsRawFd, count: u32) -> io::Result<Self> {
        let offset = page_size() * PAGE_OFFSET;
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let (fd, bytes) = (vcpu.as_raw_fd(), bytes(count));
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use; `vcpu`
        // is borrowed, so its descriptor is open.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), bytes, access, libc::MAP_SHARED, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let entries = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            entries,
            count,
            next: 0,
        })
    }

    /// Takes the next entry, if the kernel has filled it.
    pub(crate) fn take(&mut self) -> Option<Entry> {
        let at = self.next % self.count;
        // SAFETY: `at` is below `count`, the number of entries that are mapped until the drop, at a
        // page's start and so aligned. All accesses on both sides are atomic or ordered by `flags`.
        let gfn = unsafe { self.entries.add(at as usize).as_ref() };
        // Acquire: the entry was written before its flag.
        if gfn.flags.load(Ordering::Acquire) & DIRTY == 0 {
            return None;
        }
        let entry = Entry {
            slot: gfn.slot.load(Ordering::Relaxed),
            page: gfn.offset.load(Ordering::Relaxed),
        };
        // Release: the entry was read before the kernel may fill it anew.
        gfn.flags.store(RESET, Ordering::Release);
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }
}

impl Drop for GfnRing {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `map` mapped, and nobody has a reference into it.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), bytes(self.count)) };
    }
}

fn bytes(count: u32) -> usize {
    count as usize * size_of::<Gfn>()
}

/// `KVM_DIRTY_LOG_PAGE_OFFSET`: where in a vCPU's file its ring is, in pages.
const PAGE_OFFSET: u64 = 64;
/// `KVM_DIRTY_GFN_F_DIRTY`.
const DIRTY: u32 = 1;
/// `KVM_DIRTY_GFN_F_RESET`.
const RESET: u32 = 2;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A file in the place of a vCPU: entries 0 and 1 are dirty.
    fn file() -> File {
        let mut file = tempfile();
        file.set_len(page_size() * (PAGE_OFFSET + 1)).unwrap();
        for (at, page) in [(0, 7_u64), (1, 9)] {
            let mut bytes = Vec::new();
            bytes.write_all(&DIRTY.to_ne_bytes()).unwrap();
            bytes.write_all(&0x1_0002_u32.to_ne_bytes()).unwrap();
            bytes.write_all(&page.to_ne_bytes()).unwrap();
            file.write_all_at(&bytes, page_size() * PAGE_OFFSET + at * 16)
                .unwrap();
        }
        file.flush().unwrap();
        file
    }

    fn tempfile() -> File {
        let path = std::env::temp_dir().join(format!("gfn-ring-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file
    }

    #[test]
    fn entries_are_taken_once_and_given_back() {
        let file = file();
        let mut ring = GfnRing::map(&file, 2).unwrap();
        for page in [7, 9] {
            let want = Entry {
                slot: 0x1_0002,
                page,
            };
            assert_eq!(ring.take(), Some(want));
        }
        // Both are the kernel's again.
        assert_eq!(ring.take(), None);
        let mut flags = [0; 4];
        for at in [0, 16] {
            file.read_exact_at(&mut flags, page_size() * PAGE_OFFSET + at)
                .unwrap();
            assert_eq!(u32::from_ne_bytes(flags), RESET);
        }
    }
}
