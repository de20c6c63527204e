// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! KVM's dirty ring: one list of written pages per vCPU.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;
use multifd_migration::dirty::DirtyBitmap;
use multifd_migration::{DirtyLog, HostError};

use crate::KvmError;
use crate::ioctls::VmIoctls;
use crate::raw::{self, Entry, GfnRing};
use crate::rings::Rings;
use crate::slot::{MemorySlot, SlotHandle, Slots};

/// Writes as KVM lists them in a ring per vCPU (`KVM_CAP_DIRTY_LOG_RING`, Linux 5.11).
///
/// A fetch costs what was written, not what there is, and a vCPU that writes much has to stop while
/// its ring is emptied. It is chosen before the first vCPU is created, and excludes the dirty log from
/// then on. If the ring is overrun, so that writes are lost, the migration fails with
/// [`KvmError::Overrun`]; the guest runs on, and can be migrated again.
///
/// A ring is of a vCPU. Where KVM writes to guest memory by itself, beside all vCPUs, as on Arm (the tables of an ITS), no ring lists it, and this
/// log refuses: the dirty log has everything.
///
/// ```no_run
/// # use std::os::fd::AsRawFd;
/// # use multifd_kvm::{EXIT_DIRTY_RING_FULL, KvmDirtyRing, MemorySlot};
/// # fn f(vm: &impl AsRawFd, memory: &multifd_core::GuestMemory, slots: Vec<MemorySlot>,
/// #      create_vcpu: impl Fn() -> std::fs::File, exit_reason: u32) -> Result<(), multifd_kvm::KvmError> {
/// let log = KvmDirtyRing::enable(vm, memory, slots, 4096)?;
/// let vcpu = create_vcpu();
/// let collector = log.add_vcpu(&vcpu)?;
/// // on the vCPU's thread, after each KVM_RUN:
/// if exit_reason == EXIT_DIRTY_RING_FULL {
///     collector.collect()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct KvmDirtyRing {
    shared: Arc<Shared>,
}

/// Empties the rings, for a vCPU that stopped because its own one is full. A clone is of the same vCPU.
#[derive(Clone, Debug)]
pub struct RingCollector {
    shared: Arc<Shared>,
    /// The vCPU's own.
    ring: usize,
}

/// `kvm_run.exit_reason` of a vCPU whose ring is full: it runs on after a
/// [collect](RingCollector::collect).
pub const EXIT_DIRTY_RING_FULL: u32 = 31;

#[derive(Debug)]
struct Shared {
    slots: Slots<VmIoctls>,
    entries: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rings: Rings,
    /// KVM has lost writes since the log was started.
    overrun: bool,
    /// It is not known any more how far KVM is with the rings.
    broken: bool,
    /// What has been taken from the rings and was not harvested yet, by block.
    blocks: Vec<DirtyBitmap>,
}

impl KvmDirtyRing {
    /// Gives each vCPU that is created from now on a ring of `entries` entries, a power of two; QEMU's
    /// usual number is 4096. A small ring stops its vCPU often, a large one of a vCPU that writes much
    /// makes a long last fetch.
    ///
    /// # Errors
    /// The VM has a vCPU already, a number that KVM does not take, no ring in this kernel, or what
    /// [`KvmDirtyLog::new`](crate::KvmDirtyLog::new) refuses.
    pub fn enable(
        vm: &impl AsRawFd,
        memory: &GuestMemory,
        slots: Vec<MemorySlot>,
        entries: u32,
    ) -> Result<Self, KvmError> {
        let (calls, places) = VmIoctls::new(vm, slots)?;
        let slots = Slots::new(calls, memory, places)?;
        let vm = &slots.calls.vm;
        let cap = kind(|cap| vm.check_extension(cap))?;
        vm.enable_cap(cap, u64::from(entries) * GfnRing::ENTRY_BYTES)
            .map_err(KvmError::vm("switch the dirty ring on"))?;
        let page_size = memory.page_size().bytes_u64();
        let blocks = memory.blocks().iter();
        let state = State {
            rings: Rings::default(),
            overrun: false,
            broken: false,
            blocks: blocks
                .map(|block| DirtyBitmap::clean(block.len() / page_size))
                .collect(),
        };
        let shared = Shared {
            slots,
            entries,
            state: Mutex::new(state),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Takes the ring of a vCPU, which must not have run yet while the log was [started](DirtyLog). Returns what its thread
    /// calls when the ring is full.
    ///
    /// # Errors
    /// The ring cannot be mapped.
    pub fn add_vcpu(&self, vcpu: &impl AsRawFd) -> Result<RingCollector, KvmError> {
        let ring = GfnRing::map(vcpu, self.shared.entries)
            .map_err(KvmError::vm("map the dirty ring of a vCPU"))?;
        Ok(RingCollector {
            ring: self.shared.lock().rings.add(ring),
            shared: Arc::clone(&self.shared),
        })
    }

    /// What is to be told before a slot of this log is changed or deleted.
    #[must_use]
    pub fn slot_handle(&self) -> SlotHandle {
        self.shared.slots.handle()
    }
}

impl RingCollector {
    /// Takes all entries of all rings, and write-protects their pages again. To be called on the vCPU's thread each time
    /// that `KVM_RUN` has ended with [`EXIT_DIRTY_RING_FULL`], and only then. Returns how many entries
    /// there were. The migration gets them at its next fetch, or [`KvmError::Overrun`].
    ///
    /// # Errors
    /// KVM does not take the entries back: the vCPU cannot run on.
    pub fn collect(&self) -> Result<u64, KvmError> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let entries = shared.collect(&mut state)?;
        let reset = || shared.slots.calls.vm.reset_dirty_rings();
        match state.rings.make_room(self.ring, reset) {
            true => Ok(entries),
            false => Err(KvmError::Overrun),
        }
    }
}

impl Shared {
    fn collect(&self, state: &mut State) -> Result<u64, KvmError> {
        let State { rings, blocks, .. } = &mut *state;
        let mark = |entry: Entry| {
            // Slots that are none of the guest memory's may be logged by the VMM for itself.
            if let Some(slot) = self.slots.find(entry.slot)
                && entry.page < slot.pages
                && let Some(block) = blocks.get_mut(slot.block.position())
            {
                block.mark(slot.first_page + entry.page, 1);
            }
        };
        let emptied = rings.empty(mark, || self.slots.calls.vm.reset_dirty_rings());
        let emptied = emptied.map_err(KvmError::vm("reset the dirty rings"))?;
        if emptied.overrun {
            state.overrun = true;
            // Nothing is written to the rings any more, and what is in them nobody needs.
            self.slots.stop_logging();
            let reset = || self.slots.calls.vm.reset_dirty_rings();
            state.broken |= !state.rings.recover(reset);
        }
        Ok(emptied.entries)
    }

    /// Fails if not all writes are known of.
    fn check(&self, state: &State) -> Result<(), KvmError> {
        self.slots.check()?;
        match state.overrun || state.broken {
            true => Err(KvmError::Overrun),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole after every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirtyLog for KvmDirtyRing {
    fn start(&mut self) -> Result<(), HostError> {
        let mut state = self.shared.lock();
        self.shared.collect(&mut state)?;
        // Those of an earlier migration.
        state.overrun = false;
        self.shared.check(&state)?;
        for block in &mut state.blocks {
            *block = DirtyBitmap::clean(block.pages());
        }
        Ok(self.shared.slots.start_logging()?)
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        let mut state = self.shared.lock();
        self.shared.collect(&mut state)?;
        Ok(self.shared.check(&state)?)
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        let mut state = self.shared.lock();
        self.shared.check(&state)?;
        let block = state.blocks.get_mut(block.position());
        dirty.append(block.ok_or("the ring was made for memory without this RAM block")?);
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.slots.stop_logging();
        // So that a vCPU does not stop later for entries that nobody wants.
        let _ = self.shared.collect(&mut self.shared.lock());
    }
}

/// The kind of ring that is right for this processor: with acquire and release, or, where each load
/// and store is one, the older one without them. `most` answers how large a kind may be, 0 if there is none.
fn kind(most: impl Fn(u32) -> io::Result<u32>) -> Result<u32, KvmError> {
    let has = |capability| {
        let most = most(capability).map_err(KvmError::vm("ask for the dirty ring"));
        most.map(|most| most > 0)
    };
    if has(raw::CAP_DIRTY_LOG_RING_WITH_BITMAP)? {
        return Err(KvmError::RingNeedsBitmap);
    }
    if has(raw::CAP_DIRTY_LOG_RING_ACQ_REL)? {
        return Ok(raw::CAP_DIRTY_LOG_RING_ACQ_REL);
    }
    if cfg!(target_arch = "x86_64") && has(raw::CAP_DIRTY_LOG_RING)? {
        return Ok(raw::CAP_DIRTY_LOG_RING);
    }
    Err(KvmError::NoRing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_ring_is_the_processors() {
        let (old, new, bitmap) = (192, 223, 225);
        let kind = |caps: &[u32]| kind(|cap| Ok(if caps.contains(&cap) { 65_536 } else { 0 }));
        assert_eq!(kind(&[old, new]).unwrap(), new);
        assert_eq!(kind(&[new]).unwrap(), new);
        assert_eq!(kind(&[old]).is_ok(), cfg!(target_arch = "x86_64"));
        assert!(matches!(kind(&[]), Err(KvmError::NoRing)));
        // As on Arm.
        assert!(matches!(
            kind(&[new, bitmap]),
            Err(KvmError::RingNeedsBitmap)
        ));
    }
}
