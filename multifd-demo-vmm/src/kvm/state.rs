// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU's state as bytes.
//!
//! | what | bytes |
//! |---|---|
//! | features: number of entries, entries | 4 + n * 40 |
//! | general registers, segments and control registers, extended control registers, debug registers | as KVM has them |
//! | floating point and vector registers | 4096 |
//! | model-specific registers: number, entries | 4 + n * 16 |
//! | pending events, state of the processor | as KVM has them |
//!
//! KVM's structures are the same on every host of one architecture (`linux/arch/x86/include/uapi/asm/kvm.h`).

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_debugregs, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs, kvm_vcpu_events, kvm_xcrs,
};
use kvm_ioctls::{Kvm, VcpuFd};

use super::raw::{self, from_bytes, to_bytes};
use crate::Error;
use crate::layout::{self, CODE, DESCRIPTORS, TOP_TABLES};
use crate::state::StateReader;

pub(super) fn save(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<u8>, Error> {
    let what = Error::kvm("save a vCPU");
    let mut state = Vec::with_capacity(16 << 10);
    let cpuid = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(&what)?;
    put_list(&mut state, cpuid.as_slice());
    state.extend(to_bytes(&vcpu.get_regs().map_err(&what)?));
    state.extend(to_bytes(&vcpu.get_sregs().map_err(&what)?));
    state.extend(to_bytes(&vcpu.get_xcrs().map_err(&what)?));
    state.extend(to_bytes(&vcpu.get_debug_regs().map_err(&what)?));
    state.extend(raw::xsave_to_bytes(&vcpu.get_xsave().map_err(&what)?));
    put_list(&mut state, &msrs(kvm, vcpu)?);
    state.extend(to_bytes(&vcpu.get_vcpu_events().map_err(&what)?));
    state.extend(to_bytes(&vcpu.get_mp_state().map_err(&what)?));
    Ok(state)
}

pub(super) fn load(vcpu: &VcpuFd, bytes: &[u8]) -> Result<(), Error> {
    let what = Error::kvm("load a vCPU");
    let mut state = StateReader::new("vcpu", bytes);
    let cpuid = take_list::<kvm_cpuid_entry2>(&mut state)?;
    let regs: kvm_regs = take(&mut state)?;
    let sregs: kvm_sregs = take(&mut state)?;
    let xcrs: kvm_xcrs = take(&mut state)?;
    let debug_regs: kvm_debugregs = take(&mut state)?;
    let xsave: raw::XsaveBytes = state.array()?;
    let msrs = take_list::<kvm_msr_entry>(&mut state)?;
    let events: kvm_vcpu_events = take(&mut state)?;
    let mp_state: kvm_mp_state = take(&mut state)?;
    let too_many = state.wrong("it has more registers than there can be");
    state.end()?;

    let Ok(cpuid) = CpuId::from_entries(&cpuid) else {
        return Err(too_many);
    };
    vcpu.set_cpuid2(&cpuid).map_err(&what)?;
    // Control registers before what they make legal.
    vcpu.set_sregs(&sregs).map_err(&what)?;
    vcpu.set_xcrs(&xcrs).map_err(&what)?;
    raw::set_xsave(vcpu, &xsave)?;
    vcpu.set_regs(&regs).map_err(&what)?;
    vcpu.set_debug_regs(&debug_regs).map_err(&what)?;
    set_msrs(vcpu, &msrs)?;
    vcpu.set_vcpu_events(&events).map_err(&what)?;
    vcpu.set_mp_state(mp_state).map_err(&what)
}

/// All model-specific registers that KVM migrates and this vCPU has.
fn msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, Error> {
    let what = Error::kvm("list the model-specific registers");
    let indices = kvm.get_msr_index_list().map_err(what)?;
    let mut found = Vec::new();
    for index in indices.as_slice() {
        let entry = kvm_msr_entry {
            index: *index,
            ..kvm_msr_entry::default()
        };
        let Ok(mut one) = Msrs::from_entries(&[entry]) else {
            continue;
        };
        // Some are only there with features that the vCPU does not have.
        if vcpu.get_msrs(&mut one).is_ok_and(|count| count == 1) {
            found.extend_from_slice(one.as_slice());
        }
    }
    Ok(found)
}

fn set_msrs(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<(), Error> {
    let what = Error::kvm("set a model-specific register");
    for entry in entries {
        let Ok(one) = Msrs::from_entries(&[*entry]) else {
            continue;
        };
        if vcpu.set_msrs(&one).map_err(&what)? != 1 {
            // Read-only ones and ones that hold their value already are among those that are listed.
            log::debug!("register {:#x} keeps its value", entry.index);
        }
    }
    Ok(())
}

/// Puts a vCPU before the first instruction of the program: 64-bit mode, with paging.
pub(super) fn set_start(vcpu: &VcpuFd, number: usize) -> Result<(), Error> {
    let what = Error::kvm("set a vCPU's registers");
    let block = layout::control(number);
    let data = kvm_segment {
        limit: u32::MAX,
        selector: 16,
        type_: 3,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let mut sregs = vcpu.get_sregs().map_err(&what)?;
    sregs.cs = kvm_segment {
        selector: 8,
        type_: 11,
        db: 0,
        l: 1,
        ..data
    };
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    sregs.fs = kvm_segment {
        base: block,
        ..data
    };
    sregs.gdt.base = DESCRIPTORS;
    sregs.gdt.limit = 23;
    sregs.cr3 = TOP_TABLES;
    sregs.cr4 = PAE | OSFXSR;
    sregs.cr0 = PE | MP | ET | NE | WP | PG;
    sregs.efer = LME | LMA;
    vcpu.set_sregs(&sregs).map_err(&what)?;
    let regs = kvm_regs {
        rip: CODE,
        rflags: 2,
        rdi: block,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&regs).map_err(&what)
}

fn put_list<T: raw::Plain>(state: &mut Vec<u8>, entries: &[T]) {
    let count = u32::try_from(entries.len()).unwrap_or(0);
    state.extend(count.to_le_bytes());
    for entry in entries {
        state.extend(to_bytes(entry));
    }
}

fn take_list<T: raw::Plain>(state: &mut StateReader<'_>) -> Result<Vec<T>, Error> {
    let count = state.u32()?;
    // The list grows only as far as there are bytes.
    (0..count).map(|_| take(state)).collect()
}

fn take<T: raw::Plain>(state: &mut StateReader<'_>) -> Result<T, Error> {
    let bytes = state.bytes(size_of::<T>())?;
    from_bytes(bytes).ok_or_else(|| state.wrong("its state is cut short"))
}

// Bits of the control registers, as Intel and AMD name them.
const PE: u64 = 1 << 0;
const MP: u64 = 1 << 1;
const ET: u64 = 1 << 4;
const NE: u64 = 1 << 5;
const WP: u64 = 1 << 16;
const PG: u64 = 1 << 31;
const PAE: u64 = 1 << 5;
const OSFXSR: u64 = 1 << 9;
const LME: u64 = 1 << 8;
const LMA: u64 = 1 << 10;
