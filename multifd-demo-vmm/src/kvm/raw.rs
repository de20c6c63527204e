// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What kvm-ioctls leaves to its caller, and KVM's structures as bytes: the only `unsafe` of this crate.

#![allow(
    unsafe_code,
    reason = "memory slots and vector registers, whose addresses and lengths KVM believes"
)]

use kvm_bindings::{
    kvm_cpuid_entry2, kvm_debugregs, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_userspace_memory_region, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{VcpuFd, VmFd};
use multifd_kvm::MemorySlot;
use multifd_kvm::vm_memory as adapter;
use vm_memory::{GuestMemoryBackend as _, GuestMemoryRegion as _};

use crate::{Error, Memory};

/// A structure that is nothing but its bytes.
///
/// # Safety
/// It has no padding, so that all its bytes may be read, and every bit pattern is a value of it.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: KVM's structures are of integers and arrays of integers, with fields where padding would be.
unsafe impl Plain for kvm_cpuid_entry2 {}
// SAFETY: as above.
unsafe impl Plain for kvm_debugregs {}
// SAFETY: as above.
unsafe impl Plain for kvm_mp_state {}
// SAFETY: as above.
unsafe impl Plain for kvm_msr_entry {}
// SAFETY: as above.
unsafe impl Plain for kvm_regs {}
// SAFETY: as above.
unsafe impl Plain for kvm_sregs {}
// SAFETY: as above.
unsafe impl Plain for kvm_vcpu_events {}
// SAFETY: as above.
unsafe impl Plain for kvm_xcrs {}

/// The registers that `KVM_GET_XSAVE` answers, without what can follow them.
pub(super) type XsaveBytes = [u8; size_of::<kvm_xsave>()];

pub(super) fn to_bytes<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `value` is borrowed for as long as the answer, and all its bytes are initialized, as
    // `Plain` promises.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// `None` if there are not just as many bytes as the structure has.
pub(super) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() != size_of::<T>() {
        return None;
    }
    // SAFETY: as many bytes as `T` has are readable, at whatever alignment, and they are a value of it,
    // as `Plain` promises.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

pub(super) fn xsave_to_bytes(xsave: &kvm_xsave) -> XsaveBytes {
    let mut bytes = [0; size_of::<kvm_xsave>()];
    for (to, from) in bytes.chunks_exact_mut(4).zip(xsave.region) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    bytes
}

pub(super) fn set_xsave(vcpu: &VcpuFd, bytes: &XsaveBytes) -> Result<(), Error> {
    let mut xsave = kvm_xsave::default();
    for (to, from) in xsave.region.iter_mut().zip(bytes.chunks_exact(4)) {
        *to = from.try_into().map(u32::from_le_bytes).unwrap_or_default();
    }
    // SAFETY: KVM reads as many bytes as it gives for `KVM_CAP_XSAVE2`, which are more than `xsave` has
    // only for a process that has asked the kernel for features of that size. This one does not.
    unsafe { vcpu.set_xsave(&xsave) }.map_err(Error::kvm("set a vCPU's vector registers"))
}

/// Gives a VM its memory, one slot for each region, numbered from 0 on.
pub(super) fn set_slots(vm: &VmFd, memory: &Memory) -> Result<Vec<MemorySlot>, Error> {
    for (region, slot) in memory.guest().iter().zip(0..) {
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().0,
            memory_size: region.len(),
            userspace_addr: region.as_ptr() as u64,
        };
        // SAFETY: the region is mapped for as long as `memory` or a clone of it lives, which each vCPU
        // has, and nobody has references to its bytes. Regions do not overlap.
        unsafe { vm.set_user_memory_region(region) }
            .map_err(Error::kvm("give the VM its memory"))?;
    }
    // SAFETY: the VM has just got these slots, and they never change.
    Ok(unsafe { adapter::slots(memory.guest(), memory.migrated(), 0) })
}
