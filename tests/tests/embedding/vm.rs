// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A machine with one dirty log for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::memory::{BlockIndex, Mapping};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use parking_lot::Mutex;

use crate::config::Config;

pub(crate) const PAGE: usize = 4096;
const PAGE_LEN: u64 = 4096;

/// The machine. Its vCPU is a thread that writes to pages here and there.
pub(crate) struct Machine {
    memory: GuestMemory,
    regions: Vec<(u64, u64)>,
    /// Held while a page is written.
    vm: Mutex<Vm>,
    /// How many writes there were, on whatever host.
    pub(crate) writes: AtomicU64,
}

/// What a VMM has behind its lock.
#[derive(Default)]
struct Vm {
    running: bool,
    /// What was written to since the last [`Machine::take_dirty`]: addresses of the guest's and lengths.
    dirty: Option<Vec<(u64, u64)>>,
}

impl Machine {
    /// A machine whose vCPU does not run yet.
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>> {
        let block = |&(at, len): &(u64, u64)| -> Result<_> {
            let name = BlockName::new(&format!("ram@{at:x}")).context("a name")?;
            let mapping = Mapping::anonymous(usize::try_from(len)?)?;
            Ok(RamBlock::new(name, Arc::new(mapping))?)
        };
        let blocks = config.regions.iter().map(block).collect::<Result<_>>()?;
        let machine = Arc::new(Self {
            memory: GuestMemory::new(PageSize::X86, blocks)?,
            regions: config.regions.clone(),
            vm: Mutex::default(),
            writes: AtomicU64::new(0),
        });
        let vcpu = Arc::downgrade(&machine);
        thread::spawn(move || {
            while let Some(machine) = vcpu.upgrade() {
                machine.step();
            }
        });
        Ok(machine)
    }

    /// One that runs, and has written to half of its memory.
    pub(crate) fn start(config: &Config) -> Result<Arc<Self>> {
        let machine = Self::new(config)?;
        for page in (0..machine.pages()).step_by(2) {
            machine.write(&mut machine.vm.lock(), page);
        }
        machine.resume();
        Ok(machine)
    }

    pub(crate) fn memory(&self) -> GuestMemory {
        self.memory.clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.vm.lock().running
    }

    pub(crate) fn pause(&self) {
        self.vm.lock().running = false;
    }

    pub(crate) fn resume(&self) {
        self.vm.lock().running = true;
    }

    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_dirty_log(&self, is_on: bool) {
        self.vm.lock().dirty = is_on.then(Vec::new);
    }

    /// All that was written to since the last call, anywhere.
    pub(crate) fn take_dirty(&self) -> Vec<(u64, u64)> {
        let mut vm = self.vm.lock();
        vm.dirty.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The block of an address, and the page there.
    pub(crate) fn page_of(&self, address: u64) -> Option<(BlockIndex, u64)> {
        let inside = |&&(at, len): &&(u64, u64)| (at..at + len).contains(&address);
        let position = self.regions.iter().position(|region| inside(&region))?;
        let (index, _) = self.memory.indexed().nth(position)?;
        Some((index, (address - self.regions.get(position)?.0) / PAGE_LEN))
    }

    /// Checks that this machine's memory is what the other one had when it was paused, which this one has not written to.
    pub(crate) fn check_against(&self, other: &Self) -> Result<()> {
        let (mut ours, mut theirs) = ([0; PAGE], [0; PAGE]);
        for (here, there) in self.memory.blocks().iter().zip(other.memory.blocks()) {
            for offset in (0..there.len()).step_by(PAGE) {
                let spans = (
                    here.span(offset, ours.len()),
                    there.span(offset, theirs.len()),
                );
                let (Some(here), Some(there)) = spans else {
                    anyhow::bail!("no such page");
                };
                here.copy_to(&mut ours);
                there.copy_to(&mut theirs);
                let number = |page: &[u8]| page.first_chunk().map(|head| u64::from_le_bytes(*head));
                let later = number(&ours) > Some(other.writes());
                ensure!(
                    later || ours == theirs,
                    "the page at {offset:#x} is another one"
                );
            }
        }
        Ok(())
    }

    fn pages(&self) -> u64 {
        self.memory.total_bytes() / PAGE_LEN
    }

    fn step(&self) {
        let mut vm = self.vm.lock();
        if vm.running {
            let page = self.writes().wrapping_mul(6_364_136_223_846_793_005) >> 33;
            self.write(&mut vm, page % self.pages());
        }
        drop(vm);
        thread::sleep(Duration::from_micros(100));
    }

    /// Writes a page, whose first bytes are the number of the write, and notes it.
    fn write(&self, vm: &mut Vm, page: u64) {
        let number = self.writes.fetch_add(1, Ordering::Relaxed) + 1;
        let mut offset = page * PAGE_LEN;
        for (block, (at, len)) in self.memory.blocks().iter().zip(&self.regions) {
            if offset < *len {
                let bytes = number.to_le_bytes().repeat(PAGE / 8);
                if let Some(span) = block.span(offset, bytes.len()) {
                    span.copy_from(&bytes);
                }
                if let Some(dirty) = &mut vm.dirty {
                    dirty.push((at + offset, PAGE_LEN));
                }
                return;
            }
            offset -= len;
        }
    }
}
