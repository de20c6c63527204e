// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The ioctls of a VM.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A VM's file descriptor, duplicated.
#[derive(Debug)]
pub(crate) struct Vm(OwnedFd);

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryRegion {
    pub(crate) slot: u32,
    pub(crate) flags: u32,
    pub(crate) guest_phys_addr: u64,
    pub(crate) memory_size: u64,
    pub(crate) userspace_addr: u64,
}

/// `struct kvm_dirty_log`.
#[repr(C)]
struct DirtyLogArgs {
    slot: u32,
    padding: u32,
    bitmap: *mut c_void,
}

/// `struct kvm_clear_dirty_log`.
#[repr(C)]
struct ClearArgs {
    slot: u32,
    num_pages: u32,
    first_page: u64,
    bitmap: *const c_void,
}

/// `struct kvm_enable_cap`.
#[repr(C)]
struct EnableCap {
    cap: u32,
    flags: u32,
    args: [u64; 4],
    pad: [u8; 64],
}

impl Vm {
    pub(crate) fn of(vm: &impl AsRawFd) -> io::Result<Self> {
        // SAFETY: `vm` is borrowed, so its descriptor is open; a new one is made of it.
        let fd = unsafe { libc::fcntl(vm.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
        let fd = answer(fd)?;
        // SAFETY: a descriptor that was just made, and that nobody else knows of.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// 0 is "no".
    pub(crate) fn check_extension(&self, cap: u32) -> io::Result<u32> {
        // SAFETY: this ioctl takes a number and touches no memory of ours.
        let got = unsafe { libc::ioctl(self.raw(), CHECK_EXTENSION, libc::c_ulong::from(cap)) };
        Ok(answer(got)?.unsigned_abs())
    }

    pub(crate) fn enable_cap(&self, cap: u32, arg: u64) -> io::Result<()> {
        let args = EnableCap {
            cap,
            flags: 0,
            args: [arg, 0, 0, 0],
            pad: [0; 64],
        };
        // SAFETY: `args` has the layout and the 104 bytes that the number of the ioctl says, and the
        // kernel only reads it. Neither of the capabilities of this crate changes memory of ours.
        answer(unsafe { libc::ioctl(self.raw(), ENABLE_CAP, &raw const args) }).map(drop)
    }

    pub(crate) fn set_memory_region(&self, region: &MemoryRegion) -> io::Result<()> {
        // SAFETY: the kernel reads the 32 bytes of `region`. All but its flags is what
        // `MemorySlot::new` was promised to be set in the VM already, so no memory becomes the
        // guest's that was not before.
        answer(unsafe { libc::ioctl(self.raw(), SET_USER_MEMORY_REGION, region) }).map(drop)
    }

    /// Fetches the log of a slot of `pages` pages into `words`, one bit per page.
    pub(crate) fn dirty_log(&self, slot: u32, pages: u64, words: &mut [u64]) -> io::Result<()> {
        if (words.len() as u64) < pages.div_ceil(64) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let args = DirtyLogArgs {
            slot,
            padding: 0,
            bitmap: words.as_mut_ptr().cast(),
        };
        // SAFETY: the kernel reads `args` and writes one bit for each page of the slot, rounded up to
        // whole words. The slot has `pages` pages, as `MemorySlot::new` was promised, and `words` has
        // room for them, as was just checked.
        answer(unsafe { libc::ioctl(self.raw(), GET_DIRTY_LOG, &raw const args) }).map(drop)
    }

    /// Clears pages of a slot whose bits are set, and write-protects them.
    pub(crate) fn clear_dirty_log(
        &self,
        slot: u32,
        first_page: u64,
        num_pages: u32,
        words: &[u64],
    ) -> io::Result<()> {
        if words.len() < num_pages.div_ceil(64) as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let args = ClearArgs {
            slot,
            num_pages,
            first_page,
            bitmap: words.as_ptr().cast(),
        };
        // SAFETY: the kernel reads `args` and one bit for each of `num_pages` pages, rounded up to
        // whole words, which `words` has, as was just checked.
        answer(unsafe { libc::ioctl(self.raw(), CLEAR_DIRTY_LOG, &raw const args) }).map(drop)
    }

    /// Takes back entries that were given back, and write-protects their pages. Returns how many
    /// entries: a signal for this thread leaves some for the next call.
    pub(crate) fn reset_dirty_rings(&self) -> io::Result<u32> {
        // SAFETY: this ioctl has no argument and touches no memory of ours but the rings, whose
        // fields are atomic here.
        let got = unsafe { libc::ioctl(self.raw(), RESET_DIRTY_RINGS, 0) };
        Ok(answer(got)?.unsigned_abs())
    }

    fn raw(&self) -> c_int {
        self.0.as_raw_fd()
    }
}

fn answer(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

// `_IO`, `_IOW` and `_IOWR` of the type 0xae with the number and the size of the argument.
const CHECK_EXTENSION: libc::Ioctl = 0xae03;
const SET_USER_MEMORY_REGION: libc::Ioctl = 0x4020_ae46;
const GET_DIRTY_LOG: libc::Ioctl = 0x4010_ae42;
const ENABLE_CAP: libc::Ioctl = 0x4068_aea3;
#[cfg_attr(
    target_env = "musl",
    expect(
        clippy::cast_possible_wrap,
        reason = "musl has the same 32 bits as a signed number"
    )
)]
const CLEAR_DIRTY_LOG: libc::Ioctl = 0xc018_aec0_u32 as libc::Ioctl;
const RESET_DIRTY_RINGS: libc::Ioctl = 0xaec7;

pub(crate) const CAP_MANUAL_DIRTY_LOG_PROTECT2: u32 = 168;
pub(crate) const CAP_DIRTY_LOG_RING: u32 = 192;
pub(crate) const CAP_DIRTY_LOG_RING_ACQ_REL: u32 = 223;
pub(crate) const CAP_DIRTY_LOG_RING_WITH_BITMAP: u32 = 225;
/// `KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE` and `KVM_DIRTY_LOG_INITIALLY_SET`.
pub(crate) const MANUAL_PROTECT: u64 = 0b11;
/// The flag of a slot whose writes are logged.
pub(crate) const MEM_LOG_DIRTY_PAGES: u32 = 1;
/// `KVM_MEM_GUEST_MEMFD`: the flag of a slot whose private pages are a guest_memfd's.
pub(crate) const MEM_GUEST_MEMFD: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_have_the_size_that_their_ioctl_says() {
        let size = |ioctl: libc::Ioctl| (ioctl >> 16 & 0x3fff) as usize;
        assert_eq!(size(SET_USER_MEMORY_REGION), size_of::<MemoryRegion>());
        assert_eq!(size(GET_DIRTY_LOG), size_of::<DirtyLogArgs>());
        assert_eq!(size(ENABLE_CAP), size_of::<EnableCap>());
        assert_eq!(size(CLEAR_DIRTY_LOG), size_of::<ClearArgs>());
    }

    #[test]
    fn bitmaps_that_are_too_short_never_reach_the_kernel() {
        let vm = Vm::of(&std::fs::File::open("/dev/null").unwrap()).unwrap();
        let short =
            |error: io::Result<()>| error.unwrap_err().kind() == io::ErrorKind::InvalidInput;
        assert!(short(vm.dirty_log(0, 65, &mut [0])));
        assert!(short(vm.clear_dirty_log(0, 0, 129, &[0; 2])));
    }
}
