// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the dirty log asks of a VM.

use std::io;

/// The calls of a VM that a [`KvmDirtyLog`](crate::KvmDirtyLog) makes, by numbers of memory slots.
///
/// [`KvmDirtyLog::new`](crate::KvmDirtyLog::new) makes them as ioctls. A VMM that keeps its VM behind an interface of its own implements them and
/// has the same log with [`KvmDirtyLog::over`](crate::KvmDirtyLog::over). Bitmaps are the kernel's: the page `n` of
/// the slot is the bit `n % 8` of the byte `n / 8`, on every host.
pub trait SlotCalls {
    /// Switches the flag `KVM_MEM_LOG_DIRTY_PAGES` of a slot on or off, and leaves all else of it as it is.
    ///
    /// # Errors
    /// The slot's writes cannot be logged.
    fn log_writes(&self, slot: u32, on: bool) -> io::Result<()>;

    /// `KVM_GET_DIRTY_LOG`. There is room for one bit for each page of the slot, in whole words.
    ///
    /// # Errors
    /// KVM's.
    fn dirty_log(&self, slot: u32, words: &mut [u64]) -> io::Result<()>;

    /// `KVM_CLEAR_DIRTY_LOG` of `pages` pages from `first_page` on, in whole words. Called only while manual protection is on.
    ///
    /// # Errors
    /// KVM's.
    fn clear_dirty_log(
        &self,
        slot: u32,
        first_page: u64,
        pages: u32,
        words: &[u64],
    ) -> io::Result<()> {
        let _ = (slot, first_page, pages, words);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether there is `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2`, and it may be used.
    ///
    /// # Errors
    /// KVM's.
    fn has_manual_protect(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Switches it on or off for the VM. Called only if [`Self::has_manual_protect`] says so.
    ///
    /// # Errors
    /// KVM's.
    fn set_manual_protect(&self, on: bool) -> io::Result<()> {
        let _ = on;
        Err(io::ErrorKind::Unsupported.into())
    }
}
