// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VM is after a migration what it was before, however its slots were set.

use anyhow::{Context, Result, ensure};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region2};
use kvm_ioctls::Cap;
use multifd_kvm::KvmDirtyLog;
use multifd_migration::{DirtyBitmap, DirtyLog};

use super::guest::{BLOCKS, Guest, Vcpu, WRITE_ONE};
use super::{kvm, skip};

#[test]
fn the_vmms_own_fetches_protect_again() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyLog::new(&guest.vm, &guest.memory, guest.slots())?;
    ensure!(log.has_manual_protect(), "Linux 5.0 has it");
    let mut vcpu = guest.vcpu(0, &WRITE_ONE)?;
    ensure!(protects(&guest, &mut vcpu)?, "before a migration");
    log.start().map_err(anyhow::Error::from_boxed)?;
    log.stop();
    ensure!(protects(&guest, &mut vcpu)?, "after one");
    Ok(())
}

#[test]
fn manual_protection_that_the_vmm_has_switched_on_stays() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut vcpu = guest.vcpu(0, &WRITE_ONE)?;
    let mut vmms = KvmDirtyLog::new(&guest.vm, &guest.memory, guest.slots())?;
    vmms.start().map_err(anyhow::Error::from_boxed)?;
    let log = KvmDirtyLog::new(&guest.vm, &guest.memory, guest.slots())?;
    let mut log = log.keep_manual_protect();
    log.start().map_err(anyhow::Error::from_boxed)?;
    log.stop();
    ensure!(!protects(&guest, &mut vcpu)?, "it was switched off");
    Ok(())
}

#[test]
fn a_slot_of_the_newer_ioctl_is_logged() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    if !kvm.check_extension(Cap::UserMemory2) {
        skip("this kernel has no KVM_SET_USER_MEMORY_REGION2");
        return Ok(());
    }
    let guest = Guest::new(&kvm)?;
    let old = guest.first_slot(0);
    let gone = kvm_bindings::kvm_userspace_memory_region {
        memory_size: 0,
        ..old
    };
    let new = kvm_userspace_memory_region2 {
        slot: old.slot,
        flags: old.flags,
        guest_phys_addr: old.guest_phys_addr,
        memory_size: old.memory_size,
        userspace_addr: old.userspace_addr,
        ..kvm_userspace_memory_region2::default()
    };
    // SAFETY: it is deleted, and then the same memory is set again.
    unsafe {
        guest.vm.set_user_memory_region(gone)?;
        guest.vm.set_user_memory_region2(new)?;
    }
    let mut vcpu = guest.vcpu(0, &WRITE_ONE)?;
    let log = KvmDirtyLog::protecting_at_fetch(&guest.vm, &guest.memory, guest.slots());
    let mut log = log?;
    for _ in 0..2 {
        log.start().map_err(anyhow::Error::from_boxed)?;
        vcpu.write(7)?;
        let (block, _) = guest.memory.indexed().next().context("a block")?;
        let mut dirty = DirtyBitmap::clean(BLOCKS[0]);
        let harvested = log.harvest(block, &mut dirty);
        harvested.map_err(anyhow::Error::from_boxed)?;
        ensure!(dirty.dirty_pages() == 1 && dirty.contains(7));
        log.stop();
    }
    Ok(())
}

/// Whether a fetch of the VMM's own protects what it reports, so that the next one does not report it again.
fn protects(guest: &Guest, vcpu: &mut Vcpu) -> Result<bool> {
    const PAGE: u64 = 5;
    let len = usize::try_from(guest.first_slot(0).memory_size)?;
    let reports = || -> Result<bool> {
        let words = guest.vm.get_dirty_log(0, len)?;
        Ok(words.first().context("a word")? >> PAGE & 1 != 0)
    };
    // SAFETY: a slot of the same memory, with another flag.
    let set = |flags| unsafe { guest.vm.set_user_memory_region(guest.first_slot(flags)) };
    set(KVM_MEM_LOG_DIRTY_PAGES)?;
    vcpu.write(PAGE)?;
    ensure!(reports()?, "it was written to");
    let protects = !reports()?;
    set(0)?;
    Ok(protects)
}
