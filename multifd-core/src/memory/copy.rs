// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Copies of pages that may go while they are read.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::Arc;

use super::{Access, GuestMemory, Mapping, PageFault, RamBlock, Span};
use crate::geometry::PageSize;
use crate::wire::BlockName;

/// Private memory with room for the pages of one packet, to which the system copies: it answers with an
/// error where a load would be a `SIGBUS`.
#[derive(Debug)]
pub struct CopyWindow {
    /// A memfd, mapped by `block`: what the system writes to the one is in the other.
    file: OwnedFd,
    block: RamBlock,
}

impl CopyWindow {
    /// Room that is not used yet, if a block of `memory` may lose pages that others can make it lose.
    ///
    /// # Errors
    /// What `memfd_create(2)`, `ftruncate(2)` and `mmap(2)` answer.
    pub fn for_memory(memory: &GuestMemory) -> io::Result<Option<Self>> {
        let may_shrink = memory.blocks().iter().any(RamBlock::may_shrink);
        may_shrink
            .then(|| Self::new(memory.page_size()))
            .transpose()
    }

    /// Room that is not used yet.
    pub(crate) fn new(page_size: PageSize) -> io::Result<Self> {
        let len = page_size.pages_per_packet() * page_size.bytes();
        let file = memfd(NAME, len)?;
        let mapping = Mapping::shared(file.as_fd(), len)?;
        let name = BlockName::new("copies").ok_or(io::ErrorKind::InvalidData)?;
        let block = RamBlock::new(name, Arc::new(mapping)).map_err(io::Error::other)?;
        Ok(Self { file, block })
    }

    /// The copies.
    pub fn block(&self) -> &RamBlock {
        &self.block
    }

    /// Copies a span to byte `at`.
    ///
    /// # Errors
    /// The system does not have all of it any more, or the window has no room for it there.
    pub fn copy(&self, span: Span<'_>, at: usize) -> Result<(), PageFault> {
        let (mut rest, mut at) = (span, at);
        while !rest.is_empty() {
            let place = libc::off_t::try_from(at).unwrap_or(libc::off_t::MAX);
            // SAFETY: the bytes are mapped (type invariant); the system reads them, and answers EFAULT
            // where it cannot.
            let count = unsafe {
                libc::pwrite(self.file.as_raw_fd(), rest.base().cast(), rest.len(), place)
            };
            match usize::try_from(count) {
                // The rest is told of the next time.
                Ok(count @ 1..) => {
                    at += count;
                    rest = rest.split_at(count).1;
                }
                Ok(0) => return Err(PageFault::not_there(Access::Read)),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        let fault = PageFault::of(&error, Access::Read);
                        return Err(fault.unwrap_or(PageFault::not_there(Access::Read)));
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn memfd(name: &CStr, len: usize) -> io::Result<OwnedFd> {
    // SAFETY: the name is a string that ends with a NUL.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else's.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and no memory is named.
    match unsafe { libc::ftruncate(file.as_raw_fd(), len) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// As it stands in `/proc/PID/maps`.
const NAME: &CStr = c"multifd-copies";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_copied_and_what_is_not_is_an_error() {
        let window = CopyWindow::new(PageSize::X86).unwrap();
        let mapping = Arc::new(Mapping::shortened_file(0x3000, 0x2000).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), mapping).unwrap();
        let span = |at: u64, len: usize| block.span(at, len).unwrap();
        span(0x0ff0, 32).copy_from(b"0123456789abcdef0123456789ABCDEF");
        window.copy(span(0, 0x2000), 0x1000).unwrap();
        let mut bytes = [0; 32];
        window.block().span(0x1ff0, 32).unwrap().copy_to(&mut bytes);
        assert_eq!(&bytes, b"0123456789abcdef0123456789ABCDEF");
        for (at, len) in [(0x2000, 0x1000), (0x1000, 0x2000)] {
            let fault = window.copy(span(at, len), 0).unwrap_err();
            assert_eq!(fault, PageFault::not_there(Access::Read));
        }
    }

    #[test]
    fn there_is_room_for_one_packet() {
        let window = CopyWindow::new(PageSize::X86).unwrap();
        let want = PageSize::X86.bytes_u64() * PageSize::X86.pages_per_packet() as u64;
        assert_eq!(window.block().len(), want);
    }
}
