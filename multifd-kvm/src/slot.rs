// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's memory slots, and where in RAM blocks they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;

use crate::KvmError;
use crate::calls::SlotCalls;
use crate::raw::{self, MemoryRegion};

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
    /// Describes a slot as `KVM_SET_USER_MEMORY_REGION` was told, or `KVM_SET_USER_MEMORY_REGION2`: its number with
    /// the address space in the upper 16 bits, its flags, the guest's address, the address in this process, and the
    /// length in bytes.
    ///
    /// A slot with a guest_memfd (`KVM_MEM_GUEST_MEMFD`) is refused when a log is made of it: KVM logs no writes to it, and
    /// such a slot cannot be changed.
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

    /// What KVM was told, and what this crate is told.
    pub(crate) fn split(self) -> Result<(MemoryRegion, SlotPlace), KvmError> {
        let (slot, len) = (self.region.slot, self.region.memory_size);
        let Some((block, offset)) = self.place else {
            let want = "a call of MemorySlot::at";
            return Err(KvmError::Place {
                slot,
                offset: 0,
                len,
                want,
            });
        };
        let place = SlotPlace {
            slot,
            block,
            offset,
            len,
        };
        Ok((self.region, place))
    }
}

/// A memory slot by its number, and the part of a RAM block that it shows to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPlace {
    /// The slot's number, with the address space in the upper 16 bits.
    pub slot: u32,
    /// The block.
    pub block: BlockIndex,
    /// The offset of the slot's first byte in the block.
    pub offset: u64,
    /// Bytes of the slot.
    pub len: u64,
}

/// All slots of a VM whose writes are logged.
#[derive(Debug)]
pub(crate) struct Slots<C> {
    pub(crate) calls: C,
    slots: Vec<Placed>,
    /// Where each of them is in the list, by its number.
    numbers: BTreeMap<u32, usize>,
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
    number: u32,
    pub(crate) block: BlockIndex,
    pub(crate) first_page: u64,
    pub(crate) pages: u64,
}

impl<C: SlotCalls> Slots<C> {
    pub(crate) fn new(
        calls: C,
        memory: &GuestMemory,
        places: Vec<SlotPlace>,
    ) -> Result<Self, KvmError> {
        let got = memory.page_size().bytes_u64();
        let want = raw::page_size().map_err(KvmError::vm("tell the size of this host's pages"))?;
        if got != want {
            return Err(KvmError::PageSize { got, want });
        }
        let slots = places.into_iter().map(|place| Placed::new(&place, memory));
        let slots: Vec<_> = slots.collect::<Result<_, _>>()?;
        let numbers = slots.iter().map(Placed::number).zip(0..).collect();
        Ok(Self {
            calls,
            slots,
            numbers,
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
        self.slots.get(*self.numbers.get(&number)?)
    }

    /// Lets KVM log writes to all slots, or to none if one of them cannot be logged.
    pub(crate) fn start_logging(&self) -> Result<(), KvmError> {
        self.check()?;
        for (at, slot) in self.slots.iter().enumerate() {
            if let Err(error) = self.calls.log_writes(slot.number, true) {
                for slot in self.slots.iter().take(at) {
                    // The first failure is the one to tell of.
                    let _ = self.calls.log_writes(slot.number, false);
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
            let _ = self.calls.log_writes(slot.number, false);
        }
    }
}

impl Placed {
    fn new(place: &SlotPlace, memory: &GuestMemory) -> Result<Self, KvmError> {
        let &SlotPlace {
            slot,
            block,
            offset,
            len,
        } = place;
        let wrong = |want| KvmError::Place {
            slot,
            offset,
            len,
            want,
        };
        let ram = memory.block(block);
        let ram = ram.ok_or_else(|| wrong("a block of the same guest memory"))?;
        let page_size = memory.page_size();
        if !page_size.is_aligned(offset) || !page_size.is_aligned(len) {
            return Err(wrong("whole pages"));
        }
        let end = offset.checked_add(len);
        if len == 0 || end.is_none_or(|end| end > ram.len()) {
            return Err(wrong("at least one page, inside of the block"));
        }
        Ok(Self {
            number: slot,
            block,
            first_page: offset / page_size.bytes_u64(),
            pages: len / page_size.bytes_u64(),
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// A slot at pages of some block.
    #[cfg(test)]
    pub(crate) fn for_test(first_page: u64, pages: u64) -> Self {
        let memory = tests::memory(multifd_core::PageSize::X86);
        let (block, _) = memory.indexed().next().unwrap();
        Self {
            number: 0,
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
    use crate::ioctls::VmIoctls;

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
            let (calls, places) = VmIoctls::new(&vm, vec![slot])?;
            Slots::new(calls, &memory, places)
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
        assert!(VmIoctls::new(&vm, vec![nowhere]).is_err());
    }

    #[test]
    fn a_slot_with_a_guest_memfd_is_refused() {
        let memory = memory(PageSize::X86);
        let (block, _) = memory.indexed().next().unwrap();
        let vm = File::open("/dev/null").unwrap();
        for (flags, is_right) in [(0, true), (1, true), (2, true), (4, false), (5, false)] {
            // SAFETY: never given to a VM.
            let slot = unsafe { MemorySlot::new(3, flags, 0, 0, 4096) }.at(block, 0);
            let calls = VmIoctls::new(&vm, vec![slot]);
            assert_eq!(calls.is_ok(), is_right, "{flags}");
            assert!(matches!(
                calls,
                Ok(_) | Err(KvmError::GuestMemfd { slot: 3 })
            ));
        }
    }

    #[test]
    fn other_pages_than_the_hosts_are_refused() {
        let size = u32::try_from(raw::page_size().unwrap() * 2).unwrap();
        let vm = File::open("/dev/null").unwrap();
        let (calls, places) = VmIoctls::new(&vm, Vec::new()).unwrap();
        let error = Slots::new(calls, &memory(PageSize::new(size).unwrap()), places);
        assert!(matches!(error, Err(KvmError::PageSize { .. })), "{error:?}");
    }
}
