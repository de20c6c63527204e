// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a VMM on KVM needs to migrate a guest that runs with the crate [`multifd_migration`].
//!
//! | | |
//! |---|---|
//! | [`KvmDirtyLog`] | `KVM_GET_DIRTY_LOG`: a bitmap per memory slot, write-protected again a piece at a time |
//! | [`KvmDirtyRing`] | the dirty ring: a list of pages per vCPU, for large guests that write little |
//! | [`vm_memory`] | the guest memory of the crate `vm-memory` as [`multifd_core::GuestMemory`], and its bitmap of device writes as a log (feature `vm-memory`) |
//!
//! The logs are the feature `kvm`, which is a default one. A VMM that has a dirty log already takes
//! `default-features = false` and the feature `vm-memory`, and gets the memory alone.
//!
//! Both logs are a [`multifd_migration::DirtyLog`], for what vCPUs write. What the VMM and its devices write
//! themselves KVM does not see: join a second log with [`multifd_migration::dirty::BothLogs`], a
//! [`multifd_migration::dirty::SoftwareLog`] or a `VmMemoryLog`.
//!
//! A VM is taken as anything that is [`AsRawFd`](std::os::fd::AsRawFd), such as `VmFd` and `VcpuFd` of
//! every version of kvm-ioctls, and stays the VMM's.
//!
//! ```no_run
//! # #[cfg(feature = "kvm")] {
//! use multifd_kvm::{KvmDirtyLog, MemorySlot};
//! # use std::os::fd::AsRawFd;
//! # fn f(vm: &impl AsRawFd, memory: &multifd_core::GuestMemory, ram: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let (block, _) = memory.indexed().next().ok_or("no RAM")?;
//! // SAFETY: the VM has this slot.
//! let slot = unsafe { MemorySlot::new(0, 0, 0x1_0000_0000, ram, 1 << 30) }.at(block, 0);
//! let log = KvmDirtyLog::new(vm, memory, vec![slot])?;
//! # Ok(())
//! # }
//! # }
//! ```

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
