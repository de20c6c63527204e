// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can go wrong between a migration and KVM.

use std::io;

/// Why writes cannot be logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KvmError {
    /// KVM refused something that concerns the whole VM.
    #[error("KVM: cannot {what}: {error}")]
    Vm {
        /// What was wanted.
        what: &'static str,
        /// Its answer, which is part of the text.
        error: io::Error,
    },
    /// KVM refused something that concerns a memory slot.
    #[error("KVM, memory slot {slot:#x}: cannot {what}: {error}")]
    Slot {
        /// The slot's number, with its address space in the upper half.
        slot: u32,
        /// What was wanted.
        what: &'static str,
        /// Its answer, which is part of the text.
        error: io::Error,
    },
    /// A memory slot that the guest memory has no place for.
    #[error(
        "KVM, memory slot {slot:#x}: {len:#x} bytes at {offset:#x} of its RAM block, wanted {want}"
    )]
    Place {
        /// The slot's number.
        slot: u32,
        /// Its offset in the block, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// What it has to be.
        want: &'static str,
    },
    /// A memory slot with a guest_memfd: KVM logs no writes to it, and does not let its flags be changed.
    #[error(
        "KVM, memory slot {slot:#x}: it has a guest_memfd, and KVM logs no writes to such memory: \
         the guest cannot migrate while it runs"
    )]
    GuestMemfd {
        /// The slot's number.
        slot: u32,
    },
    /// The VMM has taken a slot away from the log: what the guest wrote to it is not known.
    #[error("KVM, memory slot {slot:#x}: it was taken away while its writes were logged")]
    Gone {
        /// The slot's number.
        slot: u32,
    },
    /// The guest's pages are of another size than KVM logs.
    #[error("the guest's pages have {got} bytes, KVM logs pages of {want} bytes on this host")]
    PageSize {
        /// The guest memory's.
        got: u64,
        /// The host's.
        want: u64,
    },
    /// The kernel, or the kind of VM, has no dirty ring.
    #[error("KVM has no dirty ring for this VM: use the dirty log")]
    NoRing,
    /// The kernel writes to the guest's memory beside all vCPUs, and lists in a bitmap of its own what no ring has.
    #[error(
        "KVM's dirty rings do not list all writes on this processor, as they are of vCPUs only: use the dirty log"
    )]
    RingNeedsBitmap,
    /// KVM has written over entries of a vCPU's dirty ring before they were taken. It stops a vCPU when
    /// 64 entries are left; where it emulates many of the guest's instructions in one go, these may
    /// write to more pages than that.
    #[error(
        "KVM has overrun the dirty ring of a vCPU, so writes were lost: use the dirty log, or from \
         the VM's start on a larger ring"
    )]
    Overrun,
}

impl KvmError {
    pub(crate) fn vm(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Vm { what, error }
    }

    pub(crate) fn slot(slot: u32, what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Slot { slot, what, error }
    }
}
