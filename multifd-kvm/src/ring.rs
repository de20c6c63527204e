//! KVM's dirty ring: one list of written pages per vCPU.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;
use multifd_migration::dirty::DirtyBitmap;
use multifd_migration::{DirtyLog, HostError};

use crate::KvmError;
use crate::ioctls::VmIoctls;
use crate::raw::{self, Entry, GfnRing, Vm};
use crate::rings::Rings;
use crate::slot::{MemorySlot, SlotHandle, Slots};

/// Writes as KVM lists them in a ring per vCPU (`KVM_CAP_DIRTY_LOG_RING`, Linux 5.11).
///
/// A fetch costs what was written, not what there is, and a vCPU that writes much has to stop while
/// its ring is emptied. It is chosen before the first vCPU is created, and excludes the dirty log from
/// then on. If the ring is overrun, so that writes are lost, the migration fails with
/// [`KvmError::Overrun`], and so does each later one; the guest runs on.
///
/// ```no_run
/// # use std::os::fd::AsRawFd;
/// # use multifd_kvm::{EXIT_DIRTY_RING_FULL, KvmDirtyRing, MemorySlot};
/// # fn f(vm: &impl AsRawFd, memory: &multifd_core::GuestMemory, slots: Vec<MemorySlot>,
/// #      create_vcpu: impl Fn() -> std::fs::File, exit_reason: u32) -> Result<(), multifd_kvm::KvmError> {
/// let log = KvmDirtyRing::enable(vm, memory, slots, 4096)?;
/// let vcpu = create_vcpu();
/// log.add_vcpu(&vcpu)?;
/// let collector = log.collector();
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

/// Empties the rings: for a vCPU that stopped because its own one is full. A clone does the same.
#[derive(Clone, Debug)]
pub struct RingCollector {
    shared: Arc<Shared>,
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
    /// KVM has lost writes, and its place in a ring is not known any more.
    overrun: bool,
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
        let cap = capability(&slots.calls.vm)?;
        let vm = &slots.calls.vm;
        vm.enable_cap(cap, u64::from(entries) * GfnRing::ENTRY_BYTES)
            .map_err(KvmError::vm("switch the dirty ring on"))?;
        let page_size = memory.page_size().bytes_u64();
        let blocks = memory.blocks().iter();
        let state = State {
            rings: Rings::default(),
            overrun: false,
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

    /// Takes the ring of a vCPU, which must not have run yet while the log was [started](DirtyLog).
    ///
    /// # Errors
    /// The ring cannot be mapped.
    pub fn add_vcpu(&self, vcpu: &impl AsRawFd) -> Result<(), KvmError> {
        let ring = GfnRing::map(vcpu, self.shared.entries)
            .map_err(KvmError::vm("map the dirty ring of a vCPU"))?;
        self.shared.lock().rings.add(ring);
        Ok(())
    }

    /// What is to be told before a slot of this log is changed or deleted.
    #[must_use]
    pub fn slot_handle(&self) -> SlotHandle {
        self.shared.slots.handle()
    }

    /// What the threads of the vCPUs call when a ring is full.
    #[must_use]
    pub fn collector(&self) -> RingCollector {
        RingCollector {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl RingCollector {
    /// Takes all entries of all rings, and write-protects their pages again. Answers how many entries
    /// there were. The migration gets them at its next fetch, or [`KvmError::Overrun`].
    ///
    /// # Errors
    /// KVM does not take the entries back: the vCPU cannot run on.
    pub fn collect(&self) -> Result<u64, KvmError> {
        self.shared.collect(&mut self.shared.lock())
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
            self.slots.stop_logging();
        }
        if state.overrun {
            // The guest runs on.
            let reset = || self.slots.calls.vm.reset_dirty_rings();
            state.rings.give_up(reset);
        }
        Ok(emptied.entries)
    }

    /// The log, as long as it knows of all writes.
    fn whole<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, KvmError> {
        self.collect(&mut state)?;
        self.slots.check()?;
        if state.overrun {
            return Err(KvmError::Overrun);
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What is behind it is whole after every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DirtyLog for KvmDirtyRing {
    fn start(&mut self) -> Result<(), HostError> {
        let mut state = self.shared.whole(self.shared.lock())?;
        for block in &mut state.blocks {
            *block = DirtyBitmap::clean(block.pages());
        }
        Ok(self.shared.slots.start_logging()?)
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        let mut state = self.shared.whole(self.shared.lock())?;
        let block = state.blocks.get_mut(block.position());
        let block = block.ok_or("the ring was made for memory without this RAM block")?;
        dirty.append(block);
        Ok(())
    }

    fn stop(&mut self) {
        self.shared.slots.stop_logging();
        // So that a vCPU does not stop later for entries that nobody wants.
        let _ = self.shared.collect(&mut self.shared.lock());
    }
}

/// The kind of ring that is right for this processor: with acquire and release, or, where each load
/// and store is one, the older one without them.
fn capability(vm: &Vm) -> Result<u32, KvmError> {
    let mut kinds = vec![raw::CAP_DIRTY_LOG_RING_ACQ_REL];
    if cfg!(target_arch = "x86_64") {
        kinds.push(raw::CAP_DIRTY_LOG_RING);
    }
    for kind in kinds {
        let most = vm.check_extension(kind);
        if most.map_err(KvmError::vm("ask for the dirty ring"))? > 0 {
            return Ok(kind);
        }
    }
    Err(KvmError::NoRing)
}
