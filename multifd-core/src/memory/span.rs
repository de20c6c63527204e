// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A checked range of guest memory.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::{Access, PageFault, zero};

/// A range of guest memory that is known to be mapped for `'a`.
///
/// Others may write to these bytes at any time, so a span is never turned into a slice.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    base: NonNull<u8>,
    len: usize,
    mapped: PhantomData<&'a [std::cell::Cell<u8>]>,
}

// SAFETY: a span is a pointer into a RamRegion, which is Send + Sync and outlives 'a; all access is
// raw and tolerates concurrent writers.
unsafe impl Send for Span<'_> {}
// SAFETY: as for Send.
unsafe impl Sync for Span<'_> {}

impl<'a> Span<'a> {
    /// # Safety
    /// `len` bytes from `base` on are mapped readable and writable for `'a`, and nobody holds a
    /// Rust reference to them.
    pub(super) unsafe fn new(base: NonNull<u8>, len: usize) -> Self {
        Self {
            base,
            len,
            mapped: PhantomData,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the span has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies guest bytes out, as many as both have, and returns how many.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        let count = self.len.min(target.len());
        // SAFETY: `count` bytes are mapped at `base` (type invariant) and writable in `target`;
        // `target` is a Rust reference, so by the contract of RamRegion it is not guest memory.
        unsafe { ptr::copy_nonoverlapping(self.base.as_ptr(), target.as_mut_ptr(), count) };
        count
    }

    /// Copies bytes into the guest, as many as both have, and returns how many.
    pub fn copy_from(&self, source: &[u8]) -> usize {
        let count = self.len.min(source.len());
        // SAFETY: as in `copy_to`, the other way round.
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), self.base.as_ptr(), count) };
        count
    }

    /// Whether every byte is zero. A byte that changes meanwhile may be seen either way.
    pub fn is_zero(&self) -> bool {
        // SAFETY: `len` bytes are mapped at `base` (type invariant).
        unsafe { zero::is_zero(self.base.as_ptr(), self.len) }
    }

    /// Makes every byte zero; writes nothing if all are zero already, so that fresh private memory
    /// stays unallocated. To read a hole of shared memory or of a file fills it all the same.
    pub fn clear(&self) {
        if !self.is_zero() {
            // SAFETY: `len` bytes are mapped writable at `base` (type invariant).
            unsafe { ptr::write_bytes(self.base.as_ptr(), 0, self.len) };
        }
    }

    /// Has the system map all pages of the span, in one call instead of a fault for each. Returns whether
    /// it can: a kernel before Linux 5.14, or a mapping of another kind, cannot.
    ///
    /// # Errors
    /// A page that is not there and cannot be: to touch it would end the process.
    pub fn populate(&self, access: Access) -> Result<bool, PageFault> {
        let advice = match access {
            Access::Read => libc::MADV_POPULATE_READ,
            Access::Write => libc::MADV_POPULATE_WRITE,
        };
        match self.advise(advice) {
            Ok(()) => Ok(true),
            Err(error) => match PageFault::of(&error, access) {
                None => Ok(false),
                Some(fault) => Err(fault),
            },
        }
    }

    /// Whether the system may read more of a file than is touched, which it does by itself. Where little of a file is
    /// written to, the pages around would be read for nothing, and count as data while they are in memory. A
    /// system that cannot do otherwise does as it likes.
    pub fn set_read_ahead(&self, may: bool) {
        let advice = if may {
            libc::MADV_NORMAL
        } else {
            libc::MADV_RANDOM
        };
        // It is a hint.
        let _ = self.advise(advice);
    }

    /// Gives the system advice about the pages that the span lies in: what it does is done to whole pages. Only such
    /// that leaves their content as it is.
    fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        let before = self.base.as_ptr().addr() % HOST_PAGE;
        let start = self.base.as_ptr().wrapping_sub(before);
        // SAFETY: the pages are mapped (type invariant); to map them for an access that is allowed, or to hint at
        // what is to come, neither moves nor changes their content.
        match unsafe { libc::madvise(start.cast(), before + self.len, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The two parts before and after byte `at`; everything and nothing if it is past the end.
    pub fn split_at(&self, at: usize) -> (Self, Self) {
        let at = at.min(self.len);
        // SAFETY: `at` <= `len`, so both parts stay inside what the type invariant says is mapped.
        let rest = unsafe { Self::new(self.base.add(at), self.len - at) };
        (Self { len: at, ..*self }, rest)
    }

    /// This span and `next` as one, if `next` starts where this one ends.
    pub fn merge(&self, next: Self) -> Option<Self> {
        let adjacent = self.base.as_ptr().wrapping_add(self.len) == next.base.as_ptr();
        adjacent.then_some(Self {
            len: self.len + next.len,
            ..*self
        })
    }

    /// The first byte, for C code that works on the guest's memory itself. Whoever calls such code answers for this:
    /// that it stays within the length, whatever the bytes are and whenever they change, for others may write to them at
    /// any time; and that no reference to them is made.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }
}

impl fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({} bytes)", self.len)
    }
}

/// Size of the host's pages in bytes; where they are larger, `madvise(2)` may refuse.
const HOST_PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Access, Mapping, RamBlock};
    use crate::wire::BlockName;

    #[test]
    fn bytes_go_in_and_out() {
        let region = Arc::new(Mapping::anonymous(0x2000).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let span = block.span(0x0ff8, 16).unwrap();
        assert!(span.is_zero());
        assert_eq!(span.copy_from(b"0123456789abcdefgh"), 16);
        let mut out = [0; 8];
        assert_eq!(span.split_at(4).1.copy_to(&mut out), 8);
        assert_eq!(&out, b"456789ab");
        assert!(!span.is_zero());
        span.clear();
        assert!(block.span(0, 0x2000).unwrap().is_zero());
    }

    #[test]
    fn populating_changes_nothing() {
        let region = Arc::new(Mapping::anonymous(0x4000).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        block.span(0x1008, 3).unwrap().copy_from(b"abc");
        let span = block.span(0x1008, 0x1800).unwrap();
        for access in [Access::Read, Access::Write] {
            span.populate(access).unwrap();
            let mut out = [0xff; 5];
            span.copy_to(&mut out);
            assert_eq!(&out, b"abc\0\0");
        }
    }

    #[test]
    fn a_page_behind_the_end_of_its_file_is_an_error() {
        let region = Arc::new(Mapping::shortened_file(0x2000, 0x1000).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        for access in [Access::Read, Access::Write] {
            let page = |at: u64| block.span(at, 0x1000).unwrap().populate(access);
            // A kernel that cannot do it says so of both.
            if !page(0).unwrap() {
                return;
            }
            let error = page(0x1000).unwrap_err();
            assert_eq!(error.access(), access);
            assert!(error.to_string().contains("made shorter"), "{error}");
        }
    }

    #[test]
    fn only_neighbours_merge() {
        let region = Arc::new(Mapping::anonymous(0x3000).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let page = |at| block.span(at, 0x1000).unwrap();
        assert_eq!(page(0).merge(page(0x1000)).unwrap().len(), 0x2000);
        assert!(page(0).merge(page(0x2000)).is_none());
        assert!(page(0x1000).merge(page(0)).is_none());
    }
}
