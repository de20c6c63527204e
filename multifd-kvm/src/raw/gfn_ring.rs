// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU's dirty ring, which the kernel shares.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::page_size::page_size;

/// The ring of one vCPU, mapped.
#[derive(Debug)]
pub(crate) struct GfnRing {
    entries: NonNull<Gfn>,
    /// A power of two.
    count: u32,
    /// Of the next entry to take; counts on past the ring's end.
    next: u32,
    /// Entries given back since the kernel last had all of them.
    unreset: u32,
    /// Entries given back since [`Self::forget_given`].
    given: u32,
    /// It was overrun: the kernel goes on somewhere behind `next`.
    lost: bool,
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
        let offset = page_size()? * PAGE_OFFSET;
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
            unreset: 0,
            given: 0,
            lost: false,
        })
    }

    /// Takes the next entry, if the kernel has filled it.
    pub(crate) fn take(&mut self) -> Option<Entry> {
        let gfn = self.entry(0);
        if !gfn.is_dirty() {
            return None;
        }
        let entry = Entry {
            slot: gfn.slot.load(Ordering::Relaxed),
            page: gfn.offset.load(Ordering::Relaxed),
        };
        self.give(1);
        Some(entry)
    }

    /// Looks, in a ring that was overrun, where the kernel goes on, and gives back what it has passed by. Returns how
    /// many entries: none as long as the kernel has written nothing there.
    pub(crate) fn find(&mut self) -> u32 {
        let first = |ring: &Self| (0..ring.count).find(|ahead| ring.entry(*ahead).is_dirty());
        let Some(passed) = self.lost.then(|| first(self)).flatten() else {
            return 0;
        };
        if passed == 0 && self.entry(self.count.wrapping_sub(1)).is_dirty() {
            // It has come round again.
            self.unreset = self.unreset.saturating_add(self.count);
            return 0;
        }
        self.lost = false;
        self.give(passed);
        passed
    }

    /// Whether as many entries as there are, or more, were given back since the kernel had all of them:
    /// it has not stopped the vCPU before, and may have written over entries.
    pub(crate) fn is_overrun(&self) -> bool {
        self.unreset >= self.count
    }

    /// The kernel has got back all entries that were given.
    pub(crate) fn all_reset(&mut self) {
        self.unreset = 0;
    }

    /// Takes note of what the kernel has reset of the entries that were given back, which it does in order. Returns how many
    /// are left.
    pub(crate) fn settle(&mut self) -> u32 {
        while self.unreset > 0 && !self.entry(self.unreset.wrapping_neg()).is_given() {
            self.unreset -= 1;
        }
        self.unreset
    }

    /// Gives back all entries that are filled.
    pub(crate) fn give_filled(&mut self) {
        self.find();
        while self.take().is_some() {}
    }

    /// How many entries were given back that the kernel has not reset.
    pub(crate) fn unreset(&self) -> u32 {
        self.unreset
    }

    /// Gives back just as many entries as there are, of a ring that was overrun and into which nothing is written any
    /// more: the kernel has filled that many, or more, since it last had all of them.
    pub(crate) fn give_all(&mut self) {
        self.next = self.next.wrapping_sub(self.unreset);
        self.unreset = 0;
        self.give(self.count);
        self.lost = true;
    }

    /// Gives back entries of a ring that was overrun, for its vCPU has just stopped because it is full, and nothing of it was
    /// given back since the vCPU stopped before: so many are certainly the kernel's. Returns how many.
    pub(crate) fn give_full(&mut self) -> u32 {
        if !self.lost || self.given > 0 {
            return 0;
        }
        let reserved = match self.count {
            1024.. => RESERVED + LOGGED_BY_PROCESSOR,
            _ => RESERVED,
        };
        let full = self.count.saturating_sub(reserved);
        self.give(full);
        full
    }

    /// What is given back from now on is counted anew.
    pub(crate) fn forget_given(&mut self) {
        self.given = 0;
    }

    fn give(&mut self, entries: u32) {
        for ahead in 0..entries {
            // Release: the entry was read before the kernel may fill it anew.
            self.entry(ahead).flags.store(RESET, Ordering::Release);
        }
        self.next = self.next.wrapping_add(entries);
        self.unreset = self.unreset.saturating_add(entries);
        self.given = self.given.saturating_add(entries);
    }

    /// The entry that is so many behind the next one.
    fn entry(&self, ahead: u32) -> &Gfn {
        let at = self.next.wrapping_add(ahead) % self.count;
        // SAFETY: `at` is below `count`, the number of entries that are mapped until the drop, at a
        // page's start and so aligned. All accesses on both sides are atomic or ordered by `flags`.
        unsafe { self.entries.add(at as usize).as_ref() }
    }
}

impl Gfn {
    fn is_dirty(&self) -> bool {
        // Acquire: the entry was written before its flag.
        self.flags.load(Ordering::Acquire) & DIRTY != 0
    }

    fn is_given(&self) -> bool {
        self.flags.load(Ordering::Acquire) & (DIRTY | RESET) == RESET
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
/// A vCPU stops when so many entries are left (`KVM_DIRTY_RING_RSVD_ENTRIES`).
const RESERVED: u32 = 64;
/// Or so many more, where the processor logs pages by itself, 512 at a time (Intel's PML). KVM takes no ring below 1024
/// entries there.
const LOGGED_BY_PROCESSOR: u32 = 512;
/// `KVM_DIRTY_GFN_F_DIRTY`.
const DIRTY: u32 = 1;
/// `KVM_DIRTY_GFN_F_RESET`.
const RESET: u32 = 2;

#[cfg(test)]
pub(crate) use tests::FakeRing;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A file in the place of a vCPU, and what the kernel does with a ring: it fills entries whether
    /// there is room or not, and takes back those that were given back in a row.
    pub(crate) struct FakeRing {
        file: File,
        count: u32,
        pushed: Cell<u32>,
        reset: Cell<u32>,
    }

    impl FakeRing {
        pub(crate) fn new(count: u32) -> Self {
            let file = tempfile::tempfile().unwrap();
            let len = page_size().unwrap() * PAGE_OFFSET + GfnRing::ENTRY_BYTES * u64::from(count);
            file.set_len(len).unwrap();
            Self {
                file,
                count,
                pushed: Cell::new(0),
                reset: Cell::new(0),
            }
        }

        pub(crate) fn map(&self) -> GfnRing {
            GfnRing::map(&self.file, self.count).unwrap()
        }

        pub(crate) fn push(&self, page: u64) {
            let at = self.at(self.pushed.replace(self.pushed.get() + 1));
            self.write(at, &DIRTY.to_ne_bytes());
            self.write(at + 4, &0x1_0002_u32.to_ne_bytes());
            self.write(at + 8, &page.to_ne_bytes());
        }

        /// Takes at most so many entries back; returns how many.
        pub(crate) fn reset(&self, most: u32) -> u32 {
            for count in 0..most {
                let at = self.at(self.reset.get());
                if self.flags(at) != RESET {
                    return count;
                }
                self.write(at, &[0; 4]);
                self.reset.set(self.reset.get() + 1);
            }
            most
        }

        /// Entries that the kernel has filled and not got back.
        pub(crate) fn used(&self) -> u32 {
            self.pushed.get() - self.reset.get()
        }

        fn at(&self, index: u32) -> u64 {
            page_size().unwrap() * PAGE_OFFSET
                + GfnRing::ENTRY_BYTES * u64::from(index % self.count)
        }

        fn flags(&self, at: u64) -> u32 {
            let mut flags = [0; 4];
            self.file.read_exact_at(&mut flags, at).unwrap();
            u32::from_ne_bytes(flags)
        }

        fn write(&self, at: u64, bytes: &[u8]) {
            self.file.write_all_at(bytes, at).unwrap();
        }
    }

    #[test]
    fn entries_are_taken_once_and_given_back() {
        let fake = FakeRing::new(4);
        let mut ring = fake.map();
        fake.push(7);
        fake.push(9);
        for page in [7, 9] {
            let want = Entry {
                slot: 0x1_0002,
                page,
            };
            assert_eq!(ring.take(), Some(want));
        }
        assert_eq!(ring.take(), None);
        // Both are the kernel's again.
        assert_eq!(fake.reset(4), 2);
        assert!(!ring.is_overrun());
    }
}
