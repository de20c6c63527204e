// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What ends a wait for a socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::connection::Interrupt;

/// An event descriptor that, once written to, stays readable.
#[derive(Debug)]
pub(super) struct WakeEvent {
    event: OwnedFd,
    /// Whether the event has been written to: looked at before every call, without a system call.
    woken: AtomicBool,
}

impl WakeEvent {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and belongs to nobody else.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            event,
            woken: AtomicBool::new(false),
        })
    }

    /// Fails once it has been interrupted.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.woken.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// Makes it as new.
    pub(super) fn reset(&self) {
        self.woken.store(false, Ordering::Relaxed);
        let mut count = [0; 8];
        // The descriptor does not block: nothing to read is nothing to do.
        // SAFETY: the pointer and the length describe `count`.
        unsafe {
            libc::read(
                self.event.as_raw_fd(),
                count.as_mut_ptr().cast(),
                count.len(),
            )
        };
    }
}

impl AsFd for WakeEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Interrupt for WakeEvent {
    fn interrupt(&self) {
        self.woken.store(true, Ordering::Relaxed);
        let one = 1_u64.to_ne_bytes();
        // The counter is far from full, so the write cannot fail.
        // SAFETY: the pointer and the length describe `one`.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}
