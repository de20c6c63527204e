//! KVM's memory slots, and where in RAM blocks they are.

use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;

use crate::KvmError;
use crate::raw::{self, MemoryRegion, Vm};

/// A memory slot of the VM, and the part of a RAM block that it shows to the guest.
///
/// A block may have several slots: memory around a hole in the guest's address space, or slots of a
/// limited size. They may begin and end at any page of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySlot {
    region: MemoryRegion,
    place: Option<(BlockIndex, u64)>,
}

impl MemorySlot {
    /// Describes a slot as `KVM_SET_USER_MEMORY_REGION` was told: its number with the address space in
    /// the upper 16 bits, its flags, the guest's address, the address in this process, and the length
    /// in bytes.
    ///
    /// # Safety
    /// The VM that this is used with has exactly this slot, and keeps it for as long as the log
    /// exists or until it was [forgotten](SlotHandle::forget): the log changes the slot's flags, and what it says of
    /// the slot becomes true.
    #[must_use]
    #[allow(unsafe_code, reason = "only a promise, which `raw` builds on")]
    pub unsafe fn new(
        slot: u32,
        flags: u32,
        guest_address: u64,
        host_address: u64,
        len: u64,
    ) -> Self {
        let region = MemoryRegion {
            slot,
            flags,
            guest_phys_addr: guest_address,
            memory_size: len,
            userspace_addr: host_address,
        };
        Self {
            region,
            place: None,
        }
    }

    /// The slot shows the memory at `offset` of `block`, in bytes.
    #[must_use]
    pub fn at(mut self, block: BlockIndex, offset: u64) -> Self {
        self.place = Some((block, offset));
        self
    }

    /// Its number, with the address space in the upper 16 bits.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.region.slot
    }
}

/// All slots of a VM whose writes are logged.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) vm: Vm,
    slots: Vec<Placed>,
    gone: SlotHandle,
}

/// Tells a log, from any thread, that slots are going to be changed or deleted. A clone does the same.
///
/// KVM has no call that changes the flags of a slot only if it is still there: a log that stops would
/// make a deleted one anew, with memory that is gone.
#[derive(Clone, Debug, Default)]
pub struct SlotHandle(Arc<Mutex<BTreeSet<u32>>>);

impl SlotHandle {
    /// The log leaves this slot alone from now on; its number has the address space in the upper 16 bits. To be called
    /// before the slot is changed or deleted. A migration that is under way fails, for what was written to the
    /// slot is not known any more.
    pub fn forget(&self, slot: u32) {
        self.lock().insert(slot);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot whose place in its block is known to be right. Numbers are pages.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    region: MemoryRegion,
    pub(crate) block: BlockIndex,
    pub(crate) first_page: u64,
    pub(crate) pages: u64,
}

impl Slots {
    pub(crate) fn new(
        vm: &impl AsRawFd,
        memory: &GuestMemory,
        slots: Vec<MemorySlot>,
    ) -> Result<Self, KvmError> {
        let got = memory.page_size().bytes_u64();
        let want = raw::page_size().map_err(KvmError::vm("tell the size of this host's pages"))?;
        if got != want {
            return Err(KvmError::PageSize { got, want });
        }
        let slots = slots.into_iter().map(|slot| Placed::new(slot, memory));
        Ok(Self {
            vm: Vm::of(vm).map_err(KvmError::vm("keep the VM's file descriptor"))?,
            slots: slots.collect::<Result<_, _>>()?,
            gone: SlotHandle::default(),
        })
    }

    /// What is told of slots that go.
    pub(crate) fn handle(&self) -> SlotHandle {
        self.gone.clone()
    }

    /// Checks that no slot has gone since the log was made.
    pub(crate) fn check(&self) -> Result<(), KvmError> {
        match self.gone.lock().first() {
            None => Ok(()),
            Some(slot) => Err(KvmError::Gone { slot: *slot }),
        }
    }

    pub(crate) fn all(&self) -> &[Placed] {
        &self.slots
    }

    pub(crate) fn of(&self, block: BlockIndex) -> impl Iterator<Item = &Placed> {
        self.slots.iter().filter(move |slot| slot.block == block)
    }

    pub(crate) fn find(&self, number: u32) -> Option<&Placed> {
        self.slots.iter().find(|slot| slot.number() == number)
    }

    /// Lets KVM log writes to all slots, or to none if one of them cannot be logged.
    pub(crate) fn start_logging(&self) -> Result<(), KvmError> {
        self.check()?;
        for (at, slot) in self.slots.iter().enumerate() {
            let flags = slot.region.flags | raw::MEM_LOG_DIRTY_PAGES;
            if let Err(error) = self.set_flags(slot, flags) {
                for slot in self.slots.iter().take(at) {
                    // The first failure is the one to tell of.
                    let _ = self.set_flags(slot, slot.region.flags);
                }
                return Err(KvmError::slot(slot.number(), "log writes")(error));
            }
        }
        Ok(())
    }

    /// Gives all slots that are still there the flags back that they had.
    pub(crate) fn stop_logging(&self) {
        // Nobody deletes one of them meanwhile.
        let gone = self.gone.lock();
        let there = |slot: &&Placed| !gone.contains(&slot.number());
        for slot in self.slots.iter().filter(there) {
            // The slot may be gone with its VM. One that is still logged costs time, no more.
            let _ = self.set_flags(slot, slot.region.flags);
        }
    }

    fn set_flags(&self, slot: &Placed, flags: u32) -> std::io::Result<()> {
        let region = MemoryRegion {
            flags,
            ..slot.region
        };
        self.vm.set_memory_region(&region)
    }
}

impl Placed {
    fn new(slot: MemorySlot, memory: &GuestMemory) -> Result<Self, KvmError> {
        let region = slot.region;
        let wrong = |want| KvmError::Place {
            slot: region.slot,
            offset: slot.place.map_or(0, |(_, offset)| offset),
            len: region.memory_size,
            want,
        };
        let (block, offset) = slot
            .place
            .ok_or_else(|| wrong("a call of MemorySlot::at"))?;
        let ram = memory.block(block);
        let ram = ram.ok_or_else(|| wrong("a block of the same guest memory"))?;
        let page_size = memory.page_size();
        if !page_size.is_aligned(offset) || !page_size.is_aligned(region.memory_size) {
            return Err(wrong("whole pages"));
        }
        let end = offset.checked_add(region.memory_size);
        if region.memory_size == 0 || end.is_none_or(|end| end > ram.len()) {
            return Err(wrong("at least one page, inside of the block"));
        }
        Ok(Self {
            region,
            block,
            first_page: offset / page_size.bytes_u64(),
            pages: region.memory_size / page_size.bytes_u64(),
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.region.slot
    }

    /// A slot at pages of some block.
    #[cfg(test)]
    pub(crate) fn for_test(first_page: u64, pages: u64) -> Self {
        let memory = tests::memory(multifd_core::PageSize::X86);
        let (block, _) = memory.indexed().next().unwrap();
        Self {
            region: MemoryRegion::default(),
            block,
            first_page,
            pages,
        }
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "slots of no VM")]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use multifd_core::memory::Mapping;
    use multifd_core::wire::BlockName;
    use multifd_core::{PageSize, RamBlock};

    use super::*;

    pub(super) fn memory(page_size: PageSize) -> GuestMemory {
        let region = Arc::new(Mapping::anonymous(1 << 20).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        GuestMemory::new(page_size, vec![block]).unwrap()
    }

    #[test]
    fn a_slot_is_inside_of_its_block() {
        let memory =
            memory(PageSize::new(u32::try_from(raw::page_size().unwrap()).unwrap()).unwrap());
        let (block, _) = memory.indexed().next().unwrap();
        let page = raw::page_size().unwrap();
        let vm = File::open("/dev/null").unwrap();
        let place = |offset, len| {
            // SAFETY: never given to a VM.
            let slot = unsafe { MemorySlot::new(3, 0, 0, 0, len) }.at(block, offset);
            Slots::new(&vm, &memory, vec![slot])
        };
        let last = (1 << 20) - page;
        assert!(place(0, 1 << 20).is_ok());
        assert!(place(last, page).is_ok());
        for (offset, len) in [
            (0, 0),
            (page, 1 << 20),
            (last + page, page),
            (1, page),
            (0, page + 1),
            (last, u64::MAX - page + 1),
        ] {
            let error = place(offset, len).err().unwrap().to_string();
            assert!(error.starts_with("KVM, memory slot 0x3: "), "{error}");
        }
        // SAFETY: as above.
        let nowhere = unsafe { MemorySlot::new(0, 0, 0, 0, page) };
        assert!(Slots::new(&vm, &memory, vec![nowhere]).is_err());
    }

    #[test]
    fn other_pages_than_the_hosts_are_refused() {
        let size = u32::try_from(raw::page_size().unwrap() * 2).unwrap();
        let vm = File::open("/dev/null").unwrap();
        let error = Slots::new(&vm, &memory(PageSize::new(size).unwrap()), Vec::new());
        assert!(matches!(error, Err(KvmError::PageSize { .. })), "{error:?}");
    }
}
