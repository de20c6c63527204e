// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM: a VM, its memory slots, its vCPUs, and the log of what they write.

mod raw;
mod state;
mod vcpu;

use std::sync::Arc;

use kvm_bindings::KVM_MAX_CPUID_ENTRIES;
use kvm_ioctls::{Kvm, VmFd};
use multifd_kvm::{KvmDirtyLog, KvmDirtyRing};
use multifd_migration::DirtyLog;

use crate::vcpu::Vcpu;
use crate::{Error, Memory};
use vcpu::KvmVcpu;

/// A VM without vCPUs.
pub(crate) struct Vm {
    kvm: Arc<Kvm>,
    fd: VmFd,
    memory: Memory,
    log: Log,
}

/// What logs the vCPUs' writes.
enum Log {
    Bitmap(KvmDirtyLog),
    Ring(KvmDirtyRing),
}

/// Why this process cannot use KVM, if it cannot.
pub(crate) fn unusable() -> Option<String> {
    let probe = Kvm::new().and_then(|kvm| kvm.create_vm()?.create_vcpu(0));
    probe.err().map(|error| format!("/dev/kvm: {error}"))
}

impl Vm {
    /// A VM with this memory. With `ring`, writes are logged in rings of so many entries.
    pub(crate) fn new(memory: &Memory, ring: Option<u32>) -> Result<Self, Error> {
        let kvm = Kvm::new().map_err(Error::kvm("open /dev/kvm"))?;
        let fd = kvm.create_vm().map_err(Error::kvm("create a VM"))?;
        // Intel's processors want three pages for themselves, where no memory is.
        fd.set_tss_address(TSS)
            .map_err(Error::kvm("set the address of the TSS"))?;
        let slots = raw::set_slots(&fd, memory)?;
        let blocks = memory.migrated();
        let log = match ring {
            None => Log::Bitmap(KvmDirtyLog::new(&fd, blocks, slots)?),
            Some(entries) => Log::Ring(KvmDirtyRing::enable(&fd, blocks, slots, entries)?),
        };
        Ok(Self {
            kvm: Arc::new(kvm),
            fd,
            memory: memory.clone(),
            log,
        })
    }

    /// Adds a vCPU, which stands before the first instruction of the program.
    pub(crate) fn vcpu(&self, number: usize) -> Result<Box<dyn Vcpu>, Error> {
        let fd = self.fd.create_vcpu(number as u64);
        let fd = fd.map_err(Error::kvm("create a vCPU"))?;
        let cpuid = self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.map_err(Error::kvm("ask for the processor's features"))?;
        fd.set_cpuid2(&cpuid)
            .map_err(Error::kvm("set a vCPU's features"))?;
        let ring = match &self.log {
            Log::Bitmap(_) => None,
            Log::Ring(ring) => Some(ring.add_vcpu(&fd)?),
        };
        state::set_start(&fd, number)?;
        Ok(Box::new(KvmVcpu {
            number,
            fd,
            kvm: Arc::clone(&self.kvm),
            ring,
            _memory: self.memory.clone(),
        }))
    }

    /// The log, once all vCPUs are there.
    pub(crate) fn into_log(self) -> Box<dyn DirtyLog + Send> {
        match self.log {
            Log::Bitmap(log) => Box::new(log),
            Log::Ring(log) => Box::new(log),
        }
    }
}

/// In the hole below 4 GiB.
const TSS: usize = 0xfffb_d000;
