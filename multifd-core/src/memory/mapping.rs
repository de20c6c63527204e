// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory mapped by this process: for hosts without a memory of their own, and for tests.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use super::{RamRegion, Untouched};

/// A mapping of anonymous memory or of a file, unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    kind: Kind,
    may_shrink: bool,
    untouched: Untouched,
}

/// What is mapped.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Anonymous,
    Shared,
    Private,
}

// SAFETY: the mapping is plain memory that belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives no access to the bytes but their address.
unsafe impl Sync for Mapping {}

// SAFETY: mapped readable and writable by `map`, never moved, unmapped only on drop; no method
// hands out a reference to the bytes.
unsafe impl RamRegion for Mapping {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.len
    }

    fn may_shrink(&self) -> bool {
        self.may_shrink
    }

    fn for_each_touched(&self, range: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
        self.untouched.for_each_touched(range, act);
    }
}

impl Mapping {
    /// Maps `len` bytes of zeros, private to this process.
    ///
    /// # Errors
    /// What `mmap(2)` answers; a length of 0 is one of its errors.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        Self::map(len, Kind::Anonymous, -1)
    }

    /// Maps the first `len` bytes of a file, a memfd or a hugetlbfs file, shared. The file must be
    /// at least that long while the mapping lives: touching what is past its end is a SIGBUS.
    ///
    /// # Errors
    /// What `mmap(2)` answers; on hugetlbfs, a length that is not whole huge pages is one of them.
    pub fn shared(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(len, Kind::Shared, file.as_raw_fd())
    }

    /// Maps the first `len` bytes of a file that need only be readable, to send them. What is written
    /// to the mapping does not reach the file. Unless it is a memfd that is sealed against it, others may
    /// make it [shorter](RamRegion::may_shrink).
    ///
    /// # Errors
    /// As [`Self::shared`].
    pub fn private(file: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let mut mapping = Self::map(len, Kind::Private, file.as_raw_fd())?;
        mapping.may_shrink = !is_sealed(file);
        Ok(mapping)
    }

    /// From now on finds out what of the memory nobody has touched, which is not read then. `file` is the one that is
    /// mapped, if there is one.
    ///
    /// # Errors
    /// What [`Untouched`] answers: the system cannot tell, and all of it counts as touched.
    pub fn learn_untouched(&mut self, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let memory = (self.base, self.len);
        self.untouched = match (self.kind, file) {
            (Kind::Anonymous, None) => Untouched::of_anonymous(self.base, self.len)?,
            (Kind::Shared, Some(file)) => Untouched::of_file(file, 0)?,
            (Kind::Private, Some(file)) => Untouched::of_private_file(file, 0, memory)?,
            (Kind::Anonymous, Some(_)) | (_, None) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        Ok(())
    }

    fn map(len: usize, kind: Kind, fd: libc::c_int) -> io::Result<Self> {
        let flags = match kind {
            Kind::Anonymous => libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            Kind::Shared => libc::MAP_SHARED,
            // Nothing is written, so no memory is set aside for copies of its pages.
            Kind::Private => libc::MAP_PRIVATE | libc::MAP_NORESERVE,
        };
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            base,
            len,
            kind,
            may_shrink: false,
            untouched: Untouched::default(),
        })
    }
}

/// Whether nobody can make the file shorter: a memfd may be sealed so.
fn is_sealed(file: BorrowedFd<'_>) -> bool {
    // SAFETY: the descriptor is open for as long as it is borrowed, and the call touches no memory.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_SHRINK != 0
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `map` mapped, and whoever uses it holds an Arc to self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
impl Mapping {
    /// A shared mapping of `len` bytes of a file that has only the first `left` any more.
    pub(crate) fn shortened_file(len: usize, left: u64) -> io::Result<Self> {
        use std::os::fd::AsFd as _;
        use std::sync::atomic::{AtomicU32, Ordering};

        static FILES: AtomicU32 = AtomicU32::new(0);
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let name = format!("multifd-shortened-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = std::fs::File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        file.set_len(len as u64)?;
        let mapping = Self::shared(file.as_fd(), len)?;
        file.set_len(left)?;
        Ok(mapping)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};

    use super::*;

    #[test]
    fn a_file_may_shrink_unless_it_is_sealed() {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a string that ends with a NUL; the descriptor is new.
        let file = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"ram".as_ptr(), flags)) };
        // SAFETY: the descriptor is open, and no memory is named.
        assert_eq!(unsafe { libc::ftruncate(file.as_raw_fd(), 4096) }, 0);
        assert!(Mapping::private(file.as_fd(), 4096).unwrap().may_shrink());
        // SAFETY: as above.
        let sealed =
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
        assert_eq!(sealed, 0);
        let mapping = Mapping::private(file.as_fd(), 4096).unwrap();
        assert!(!mapping.may_shrink());
        // SAFETY: the byte is mapped, and nobody writes to it.
        assert_eq!(unsafe { mapping.base().read() }, 0);
        assert!(!Mapping::anonymous(4096).unwrap().may_shrink());
    }
}
