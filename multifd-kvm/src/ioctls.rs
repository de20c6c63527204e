// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The calls of the dirty log as ioctls.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use crate::KvmError;
use crate::calls::SlotCalls;
use crate::raw::{self, MemoryRegion, Vm};
use crate::slot::{MemorySlot, SlotPlace};

/// A VM's file descriptor, duplicated, and the slots that the VMM has set.
#[derive(Debug)]
pub struct VmIoctls {
    pub(crate) vm: Vm,
    regions: BTreeMap<u32, MemoryRegion>,
}

impl VmIoctls {
    /// The calls of a VM with these slots, and where each of them is.
    pub(crate) fn new(
        vm: &impl AsRawFd,
        slots: Vec<MemorySlot>,
    ) -> Result<(Self, Vec<SlotPlace>), KvmError> {
        let vm = Vm::of(vm).map_err(KvmError::vm("keep the VM's file descriptor"))?;
        let (mut regions, mut places) = (BTreeMap::new(), Vec::new());
        for slot in slots {
            let (region, place) = slot.split()?;
            if region.flags & raw::MEM_GUEST_MEMFD != 0 {
                return Err(KvmError::GuestMemfd { slot: region.slot });
            }
            places.push(place);
            regions.insert(region.slot, region);
        }
        Ok((Self { vm, regions }, places))
    }

    fn region(&self, slot: u32) -> io::Result<&MemoryRegion> {
        let region = self.regions.get(&slot);
        region.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The bits of manual protection that the kernel has: all pages dirty at the start from Linux 5.7 on.
    fn manual_protect(&self) -> io::Result<u64> {
        let available = self
            .vm
            .check_extension(raw::CAP_MANUAL_DIRTY_LOG_PROTECT2)?;
        Ok(u64::from(available) & raw::MANUAL_PROTECT)
    }
}

impl SlotCalls for VmIoctls {
    fn log_writes(&self, slot: u32, on: bool) -> io::Result<()> {
        let region = self.region(slot)?;
        let flags = match on {
            true => region.flags | raw::MEM_LOG_DIRTY_PAGES,
            false => region.flags,
        };
        self.vm
            .set_memory_region(&MemoryRegion { flags, ..*region })
    }

    fn dirty_log(&self, slot: u32, words: &mut [u64]) -> io::Result<()> {
        let pages = self.region(slot)?.memory_size / raw::page_size()?;
        self.vm.dirty_log(slot, pages, words)
    }

    fn clear_dirty_log(
        &self,
        slot: u32,
        first_page: u64,
        pages: u32,
        words: &[u64],
    ) -> io::Result<()> {
        self.vm.clear_dirty_log(slot, first_page, pages, words)
    }

    fn has_manual_protect(&self) -> io::Result<bool> {
        Ok(self.manual_protect()? != 0)
    }

    fn set_manual_protect(&self, on: bool) -> io::Result<()> {
        let wanted = if on { self.manual_protect()? } else { 0 };
        self.vm
            .enable_cap(raw::CAP_MANUAL_DIRTY_LOG_PROTECT2, wanted)
    }
}
