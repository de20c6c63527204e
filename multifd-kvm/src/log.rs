//! KVM's dirty log: one bitmap per memory slot.

use std::os::fd::AsRawFd;

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;
use multifd_migration::dirty::DirtyBitmap;
use multifd_migration::{DirtyLog, HostError};

use crate::KvmError;
use crate::pages::{ClearRange, merge_slot};
use crate::raw;
use crate::slot::{MemorySlot, SlotHandle, Slots};

/// Writes as KVM logs them in a bitmap per memory slot.
///
/// With `KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2` (Linux 5.0; all bits set at the start from 5.7 on) a page
/// is write-protected again just before it is sent, in pieces: to start costs nothing, and a page that
/// the guest writes to again and again before its turn costs one fault, not one per fetch. Without it each
/// fetch protects all that it reports.
#[derive(Debug)]
pub struct KvmDirtyLog {
    slots: Slots,
    manual_protect: bool,
    /// A slot's bitmap; as long as the longest one needs.
    words: Vec<u64>,
}

impl KvmDirtyLog {
    /// The log of a VM, with manual protection if the kernel has it; that is then switched on for the
    /// VM and stays so.
    ///
    /// # Errors
    /// Slots that are not inside of their blocks, pages that are not the host's, or what KVM answers.
    pub fn new(
        vm: &impl AsRawFd,
        memory: &GuestMemory,
        slots: Vec<MemorySlot>,
    ) -> Result<Self, KvmError> {
        let mut log = Self::protecting_at_fetch(vm, memory, slots)?;
        let vm = &log.slots.vm;
        let available = vm.check_extension(raw::CAP_MANUAL_DIRTY_LOG_PROTECT2);
        let available = available.map_err(KvmError::vm("ask for manual protection"))?;
        let wanted = u64::from(available) & raw::MANUAL_PROTECT;
        if wanted != 0 {
            vm.enable_cap(raw::CAP_MANUAL_DIRTY_LOG_PROTECT2, wanted)
                .map_err(KvmError::vm("switch manual protection on"))?;
            log.manual_protect = true;
        }
        Ok(log)
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
        let slots = Slots::new(vm, memory, slots)?;
        Ok(Self {
            slots,
            manual_protect: false,
            words: Vec::new(),
        })
    }

    /// What is to be told before a slot of this log is changed or deleted.
    #[must_use]
    pub fn slot_handle(&self) -> SlotHandle {
        self.slots.handle()
    }

    /// Whether pages are write-protected again just before they are sent.
    #[must_use]
    pub fn has_manual_protect(&self) -> bool {
        self.manual_protect
    }
}

impl DirtyLog for KvmDirtyLog {
    fn start(&mut self) -> Result<(), HostError> {
        let longest = self.slots.all().iter().map(|slot| slot.pages.div_ceil(64));
        let longest = usize::try_from(longest.max().unwrap_or(0))?;
        self.words.resize(longest, 0);
        Ok(self.slots.start_logging()?)
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        self.slots.check()?;
        for slot in self.slots.of(block) {
            let len = usize::try_from(slot.pages.div_ceil(64))?;
            // `start` has made room for the longest one.
            let words = self.words.get_mut(..len).ok_or("the log was not started")?;
            self.slots
                .vm
                .dirty_log(slot.number(), slot.pages, words)
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
        if !self.manual_protect {
            return Ok(u64::MAX);
        }
        self.slots.check()?;
        let stride = dirty.stride(from, ENOUGH_DIRTY, MOST_PAGES);
        for slot in self.slots.of(block) {
            if let Some(range) = ClearRange::new(slot, dirty, &stride, &mut self.words) {
                self.slots
                    .vm
                    .clear_dirty_log(slot.number(), range.first_page, range.pages, range.words)
                    .map_err(KvmError::slot(slot.number(), "clear its dirty log"))?;
            }
        }
        Ok(stride.end)
    }

    fn stop(&mut self) {
        self.slots.stop_logging();
        self.words = Vec::new();
    }
}

/// Dirty pages that are cleared at once: of 4 KiB, 64 MiB.
const ENOUGH_DIRTY: u64 = 1 << 14;
/// Pages that are cleared at once at most, dirty or not: of 4 KiB, 1 GiB.
const MOST_PAGES: u64 = 1 << 18;
