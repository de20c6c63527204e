//! What a VMM on KVM needs to migrate a guest that runs with the crate [`multifd-migration`].
//!
//! | | |
//! |---|---|
//! | [`KvmDirtyLog`] | `KVM_GET_DIRTY_LOG`: a bitmap per memory slot, write-protected again a piece at a time |
//! | [`KvmDirtyRing`] | the dirty ring: a list of pages per vCPU, for large guests that write little |
//! | [`vm_memory`] | the guest memory of the crate `vm-memory` as [`multifd_core::GuestMemory`], and its bitmap of device writes as a log (feature `vm-memory`) |
//!
//! Both logs are a [`multifd_migration::DirtyLog`], for what vCPUs write. What the VMM and its devices write
//! themselves KVM does not see: join a second log with [`multifd_migration::dirty::BothLogs`], a
//! [`multifd_migration::dirty::SoftwareLog`] or a `VmMemoryLog`.
//!
//! A VM is taken as anything that is [`AsRawFd`](std::os::fd::AsRawFd), such as `VmFd` and `VcpuFd` of
//! every version of kvm-ioctls, and stays the VMM's.
//!
//! ```no_run
//! use multifd_kvm::{KvmDirtyLog, MemorySlot};
//! # use std::os::fd::AsRawFd;
//! # fn f(vm: &impl AsRawFd, memory: &multifd_core::GuestMemory, ram: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let (block, _) = memory.indexed().next().ok_or("no RAM")?;
//! // SAFETY: the VM has this slot.
//! let slot = unsafe { MemorySlot::new(0, 0, 0x1_0000_0000, ram, 1 << 30) }.at(block, 0);
//! let log = KvmDirtyLog::new(vm, memory, vec![slot])?;
//! # Ok(())
//! # }
//! ```

mod calls;
mod error;
mod ioctls;
mod log;
mod pages;
mod raw;
mod ring;
mod rings;
mod slot;
#[cfg(feature = "vm-memory")]
pub mod vm_memory;

pub use calls::SlotCalls;
pub use error::KvmError;
pub use ioctls::VmIoctls;
pub use log::KvmDirtyLog;
pub use ring::{EXIT_DIRTY_RING_FULL, KvmDirtyRing, RingCollector};
pub use slot::{MemorySlot, SlotHandle, SlotPlace};
