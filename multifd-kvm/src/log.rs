// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's dirty log: one bitmap per memory slot.

use std::os::fd::AsRawFd;

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;
use multifd_migration::dirty::DirtyBitmap;
use multifd_migration::{DirtyLog, HostError};

use crate::KvmError;
use crate::calls::SlotCalls;
use crate::ioctls::VmIoctls;
use crate::pages::{ClearRange, merge_slot};
use crate::slot::{MemorySlot, SlotHandle, SlotPlace, Slots};

/// Writes as KVM logs them in a bitmap per memory slot.
///
/// With `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2` (Linux 5.0; all bits set at the start from 5.7 on) a page
/// is write-protected again just before it is sent, in pieces: to start costs nothing, and a page that
/// the guest writes to again and again before its turn costs one fault, not one per fetch. Without it each
/// fetch protects all that it reports.
///
/// Manual protection is of the whole VM: it is switched on when a migration starts, and off when it ends. In between,
/// `KVM_GET_DIRTY_LOG` protects nothing, of no slot. A VMM that logs writes to a slot for itself meanwhile (of a screen, say) and
/// expects its own calls to protect wants [`protecting_at_fetch`](Self::protecting_at_fetch). One that has switched it on
/// by itself, for good, says so with [`keep_manual_protect`](Self::keep_manual_protect).
///
/// A piece has about 64 MiB of dirty pages, and is 1 GiB long at most: [`clear_at_once`](Self::clear_at_once).
#[derive(Debug)]
pub struct KvmDirtyLog<C = VmIoctls> {
    slots: Slots<C>,
    protection: Protection,
    /// How many dirty pages, and pages, are cleared at once.
    stride: (u64, u64),
    /// A slot's bitmap; as long as the longest one needs, and empty while the log is stopped.
    words: Vec<u64>,
}

/// When pages are write-protected again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    /// By the fetch that reports them.
    AtFetch,
    /// Before they are sent. Switched on by the start, and off by the stop.
    Late,
    /// Before they are sent. The VMM has switched it on.
    AlwaysLate,
}

impl KvmDirtyLog {
    /// The log of a VM, with manual protection if the kernel has it.
    ///
    /// # Errors
    /// Slots that are not inside of their blocks or have a guest_memfd, pages that are not the host's, or what KVM
    /// answers.
    pub fn new(
        vm: &impl AsRawFd,
        memory: &GuestMemory,
        slots: Vec<MemorySlot>,
    ) -> Result<Self, KvmError> {
        let (calls, places) = VmIoctls::new(vm, slots)?;
        Self::over(calls, memory, places)
    }

    /// The log of a VM without manual protection, as with a kernel before 5.0. For a VM that must not
    /// be changed; [`Self::new`] is the better one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn protecting_at_fetch(
        vm: &impl AsRawFd,
        memory: &GuestMemory,
        slots: Vec<MemorySlot>,
    ) -> Result<Self, KvmError> {
        let (calls, places) = VmIoctls::new(vm, slots)?;
        Self::with(calls, memory, places, Protection::AtFetch)
    }
}

impl<C: SlotCalls> KvmDirtyLog<C> {
    /// The log of a VM that the VMM makes the calls of itself, with manual protection if these have it.
    ///
    /// # Errors
    /// As [`KvmDirtyLog::new`].
    pub fn over(calls: C, memory: &GuestMemory, places: Vec<SlotPlace>) -> Result<Self, KvmError> {
        let available = calls.has_manual_protect();
        let available = available.map_err(KvmError::vm("ask for manual protection"))?;
        let protection = match available {
            true => Protection::Late,
            false => Protection::AtFetch,
        };
        Self::with(calls, memory, places, protection)
    }

    fn with(
        calls: C,
        memory: &GuestMemory,
        places: Vec<SlotPlace>,
        protection: Protection,
    ) -> Result<Self, KvmError> {
        Ok(Self {
            slots: Slots::new(calls, memory, places)?,
            protection,
            stride: (ENOUGH_DIRTY, MOST_PAGES),
            words: Vec::new(),
        })
    }

    /// The VMM has switched manual protection on for this VM by itself, and keeps it so: it is neither switched on nor off here.
    #[must_use]
    pub fn keep_manual_protect(mut self) -> Self {
        self.protection = Protection::AlwaysLate;
        self
    }

    /// How much is write-protected again at once: until there are so many dirty pages among so many pages. In few large pieces
    /// the vCPUs are disturbed less often; in many small ones fewer pages are written to between the protection and their turn, which are then sent
    /// once more. By default 2^14 of 2^18, as many pages as QEMU's `clear-bitmap-shift` of 18.
    #[must_use]
    pub fn clear_at_once(mut self, dirty_pages: u64, pages: u64) -> Self {
        self.stride = (dirty_pages, pages.min(MOST_PAGES));
        self
    }

    /// What is to be told before a slot of this log is changed or deleted.
    #[must_use]
    pub fn slot_handle(&self) -> SlotHandle {
        self.slots.handle()
    }

    /// Whether pages are write-protected again just before they are sent.
    #[must_use]
    pub fn has_manual_protect(&self) -> bool {
        self.protection != Protection::AtFetch
    }

    /// Switches manual protection on or off, if that is this log's matter.
    fn set_manual_protect(&self, on: bool) -> std::io::Result<()> {
        match self.protection {
            Protection::Late => self.slots.calls.set_manual_protect(on),
            Protection::AtFetch | Protection::AlwaysLate => Ok(()),
        }
    }
}

impl<C: SlotCalls> DirtyLog for KvmDirtyLog<C> {
    fn start(&mut self) -> Result<(), HostError> {
        let longest = self.slots.all().iter().map(|slot| slot.pages.div_ceil(64));
        let longest = usize::try_from(longest.max().unwrap_or(0))?;
        self.slots.check()?;
        self.set_manual_protect(true)
            .map_err(KvmError::vm("switch manual protection on"))?;
        if let Err(error) = self.slots.start_logging() {
            // The first failure is the one to tell of.
            let _ = self.set_manual_protect(false);
            return Err(error.into());
        }
        self.words.resize(longest, 0);
        Ok(())
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        self.slots.check()?;
        for slot in self.slots.of(block) {
            let len = usize::try_from(slot.pages.div_ceil(64))?;
            // `start` has made room for the longest one.
            let words = self.words.get_mut(..len).ok_or("the log was not started")?;
            let calls = &self.slots.calls;
            calls
                .dirty_log(slot.number(), words)
                .map_err(KvmError::slot(slot.number(), "fetch its dirty log"))?;
            merge_slot(dirty, slot, words);
        }
        Ok(())
    }

    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        if !self.has_manual_protect() {
            return Ok(u64::MAX);
        }
        self.slots.check()?;
        let stride = dirty.stride(from, self.stride.0, self.stride.1);
        for slot in self.slots.of(block) {
            if let Some(range) = ClearRange::new(slot, dirty, &stride, &mut self.words) {
                let calls = &self.slots.calls;
                calls
                    .clear_dirty_log(slot.number(), range.first_page, range.pages, range.words)
                    .map_err(KvmError::slot(slot.number(), "clear its dirty log"))?;
            }
        }
        Ok(stride.end)
    }

    fn stop(&mut self) {
        self.slots.stop_logging();
        // A slot that is still logged is the VMM's own: its fetches protect again.
        let _ = self.set_manual_protect(false);
        self.words = Vec::new();
    }
}

/// Dirty pages that are cleared at once: of 4 KiB, 64 MiB.
const ENOUGH_DIRTY: u64 = 1 << 14;
/// Pages that are cleared at once at most, dirty or not: of 4 KiB, 1 GiB.
const MOST_PAGES: u64 = 1 << 18;
