// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's ioctls and shared memory: the only `unsafe` of this crate.
//!
//! Numbers and layouts are those of Linux's `include/uapi/linux/kvm.h`, which never change.

#![allow(
    unsafe_code,
    reason = "ioctls, the rings that the kernel shares, and memory lent by vm-memory"
)]

#[cfg(feature = "kvm")]
mod gfn_ring;
#[cfg(feature = "kvm")]
mod page_size;
#[cfg(feature = "vm-memory")]
mod region;
#[cfg(feature = "kvm")]
mod vm;

#[cfg(all(test, feature = "kvm"))]
pub(crate) use gfn_ring::FakeRing;
#[cfg(feature = "kvm")]
pub(crate) use gfn_ring::{Entry, GfnRing};
#[cfg(feature = "kvm")]
pub(crate) use page_size::page_size;
#[cfg(feature = "vm-memory")]
pub(crate) use region::Region;
#[cfg(feature = "kvm")]
pub(crate) use vm::{
    CAP_DIRTY_LOG_RING, CAP_DIRTY_LOG_RING_ACQ_REL, CAP_DIRTY_LOG_RING_WITH_BITMAP,
    CAP_MANUAL_DIRTY_LOG_PROTECT2, MANUAL_PROTECT, MEM_GUEST_MEMFD, MEM_LOG_DIRTY_PAGES,
    MemoryRegion, Vm,
};
