// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VMM on vm-memory: its regions, its slots, and what its devices write.

use anyhow::{Context, Result, ensure};
use kvm_bindings::kvm_userspace_memory_region;
use multifd_core::PageSize;
use multifd_kvm::KvmDirtyLog;
use multifd_kvm::vm_memory::{self as adapter, VmMemoryLog};
use multifd_migration::dirty::BothLogs;
use multifd_migration::{DirtyBitmap, DirtyLog};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{
    Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _,
};

use super::kvm;

#[test]
fn both_logs_are_one() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let vm = kvm.create_vm()?;
    let ranges = [
        (GuestAddress(0), 0x10_0000),
        (GuestAddress(0x100_0000), 0x10_0000),
    ];
    let mmap = GuestMemoryMmap::<AtomicBitmap>::from_ranges(&ranges)?;
    for (region, slot) in mmap.iter().zip(0..) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: `mmap` lives to the end of the test, and gives no references to its bytes.
        unsafe { vm.set_user_memory_region(region) }?;
    }
    let memory = adapter::guest_memory(&mmap, PageSize::X86, ["ram", "ram-above"])?;
    // SAFETY: these are the slots that were just set.
    let slots = unsafe { adapter::slots(&mmap, &memory, 0) };
    let vcpus = KvmDirtyLog::protecting_at_fetch(&vm, &memory, slots)?;
    let mut log = BothLogs(vcpus, VmMemoryLog::new(&mmap, PageSize::X86)?);

    // in: out 0x10, al; mov [0x1000], al; out 0x10, al
    mmap.write_slice(&[0xe6, 0x10, 0xa2, 0x00, 0x10, 0xe6, 0x10], GuestAddress(0))?;
    let mut vcpu = vm.create_vcpu(0)?;
    let mut sregs = vcpu.get_sregs()?;
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs)?;
    let mut regs = vcpu.get_regs()?;
    (regs.rip, regs.rflags) = (0, 2);
    vcpu.set_regs(&regs)?;
    vcpu.run()?;
    log.start().map_err(|error| anyhow::anyhow!(error))?;
    vcpu.run()?;
    mmap.write_obj(7_u64, GuestAddress(0x100_3000))?;
    for ((block, ram), want) in memory.indexed().zip([1, 3]) {
        let mut dirty = DirtyBitmap::clean(ram.len() / 4096);
        log.harvest(block, &mut dirty)
            .map_err(|error| anyhow::anyhow!(error))?;
        let pages: Vec<_> = (0..dirty.pages())
            .filter(|page| dirty.contains(*page))
            .collect();
        ensure!(pages == [want], "{}: {pages:?}", ram.name());
    }
    log.stop();
    let (_, ram) = memory.indexed().next().context("a block")?;
    ensure!(ram.len() == 0x10_0000);
    Ok(())
}
