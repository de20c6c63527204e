// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

// Its example needs the logs.
#![cfg_attr(feature = "kvm", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "kvm"),
    doc = "Guest memory of the crate `vm-memory` for the crate `multifd-migration`, without the logs of KVM."
)]

#[cfg(not(target_os = "linux"))]
compile_error!("multifd-kvm is for Linux: KVM is Linux's");

#[cfg(feature = "kvm")]
mod calls;
#[cfg(feature = "kvm")]
mod error;
#[cfg(feature = "kvm")]
mod ioctls;
#[cfg(feature = "kvm")]
mod log;
#[cfg(feature = "kvm")]
mod pages;
#[cfg(any(feature = "kvm", feature = "vm-memory"))]
mod raw;
#[cfg(feature = "kvm")]
mod ring;
#[cfg(feature = "kvm")]
mod rings;
#[cfg(feature = "kvm")]
mod slot;
#[cfg(feature = "vm-memory")]
pub mod vm_memory;

#[cfg(feature = "kvm")]
pub use calls::SlotCalls;
#[cfg(feature = "kvm")]
pub use error::KvmError;
#[cfg(feature = "kvm")]
pub use ioctls::VmIoctls;
#[cfg(feature = "kvm")]
pub use log::KvmDirtyLog;
#[cfg(feature = "kvm")]
pub use ring::{EXIT_DIRTY_RING_FULL, KvmDirtyRing, RingCollector};
#[cfg(feature = "kvm")]
pub use slot::{MemorySlot, SlotHandle, SlotPlace};
