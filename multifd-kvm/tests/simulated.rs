// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The dirty log over a kernel that is simulated, by the rules of KVM's documentation: no write is lost, and each
//! call is one that KVM takes.

#![cfg(feature = "kvm")]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: what cannot be fails it"
)]

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_kvm::{KvmDirtyLog, SlotCalls, SlotPlace};
use multifd_migration::dirty::Walk;
use multifd_migration::{DirtyBitmap, DirtyLog};
use proptest::prelude::*;

/// Pages of the two blocks.
const BLOCKS: [u64; 2] = [9000, 70];
/// Block, first page in it, pages: of each slot. The last pages of the first block are in none.
const SLOTS: [(usize, u64, u64); 4] = [(0, 0, 1000), (0, 1000, 6097), (0, 7097, 1800), (1, 0, 70)];

/// A VM and its guest. A page that is written to is noted if it is protected; if not, it is noted already, or nobody
/// wants to know.
#[derive(Default)]
struct Vm {
    has_manual_protect: bool,
    /// What of the slots cannot be logged.
    refuses: Option<u32>,
    manual_protect: Cell<bool>,
    slots: RefCell<Vec<Slot>>,
    clears: Cell<usize>,
}

struct Slot {
    logged: bool,
    noted: Vec<bool>,
    protected: Vec<bool>,
    /// How often each page was written.
    memory: Vec<u32>,
}

impl Vm {
    fn new(has_manual_protect: bool) -> Rc<Self> {
        let slot = |(_, _, pages): (_, _, u64)| {
            let pages = usize::try_from(pages).unwrap();
            Slot {
                logged: false,
                noted: vec![false; pages],
                protected: vec![false; pages],
                memory: vec![1; pages],
            }
        };
        Rc::new(Self {
            has_manual_protect,
            slots: RefCell::new(SLOTS.into_iter().map(slot).collect()),
            ..Self::default()
        })
    }

    fn write(&self, slot: usize, page: usize) {
        let slot = &mut self.slots.borrow_mut()[slot];
        let page = page % slot.memory.len();
        slot.memory[page] += 1;
        if std::mem::take(&mut slot.protected[page]) {
            slot.noted[page] = true;
        }
    }

    fn log(self: &Rc<Self>) -> (GuestMemory, KvmDirtyLog<Calls>) {
        let block = |(number, pages): (usize, u64)| {
            let region = Mapping::anonymous(usize::try_from(pages << 12).unwrap()).unwrap();
            let name = BlockName::new(&format!("ram{number}")).unwrap();
            RamBlock::new(name, Arc::new(region)).unwrap()
        };
        let blocks = BLOCKS.into_iter().enumerate().map(block).collect();
        let memory = GuestMemory::new(PageSize::X86, blocks).unwrap();
        let places = SLOTS
            .into_iter()
            .zip(0..)
            .map(|((block, first, pages), slot)| SlotPlace {
                slot,
                block: memory.indexed().nth(block).unwrap().0,
                offset: first << 12,
                len: pages << 12,
            });
        let log = KvmDirtyLog::over(Calls(Rc::clone(self)), &memory, places.collect()).unwrap();
        (memory, log)
    }
}

struct Calls(Rc<Vm>);

fn refused() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl SlotCalls for Calls {
    fn log_writes(&self, slot: u32, on: bool) -> io::Result<()> {
        if self.0.refuses == Some(slot) && on {
            return Err(refused());
        }
        let slot = &mut self.0.slots.borrow_mut()[slot as usize];
        // At the start all is noted, or all is protected.
        let noted = on && self.0.manual_protect.get();
        slot.logged = on;
        slot.noted.fill(noted);
        slot.protected.fill(on && !noted);
        Ok(())
    }

    fn dirty_log(&self, slot: u32, words: &mut [u64]) -> io::Result<()> {
        let slot = &mut self.0.slots.borrow_mut()[slot as usize];
        if !slot.logged || words.len() < slot.noted.len().div_ceil(64) {
            return Err(refused());
        }
        let mut bytes = vec![0; words.len() * 8];
        for page in (0..slot.noted.len()).filter(|page| slot.noted[*page]) {
            bytes[page / 8] |= 1 << (page % 8);
        }
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap());
        }
        if !self.0.manual_protect.get() {
            for page in 0..slot.noted.len() {
                slot.protected[page] |= std::mem::take(&mut slot.noted[page]);
            }
        }
        Ok(())
    }

    fn clear_dirty_log(
        &self,
        slot: u32,
        first_page: u64,
        pages: u32,
        words: &[u64],
    ) -> io::Result<()> {
        let slot = &mut self.0.slots.borrow_mut()[slot as usize];
        let (first, len) = (usize::try_from(first_page).unwrap(), slot.noted.len());
        let pages = pages as usize;
        let is_right = first.is_multiple_of(64)
            && first < len
            && pages <= len - first
            && (pages.is_multiple_of(64) || pages == len - first)
            && words.len() >= pages.div_ceil(64);
        if !is_right || !slot.logged || !self.0.manual_protect.get() {
            return Err(refused());
        }
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        for page in (0..pages).filter(|page| bytes[page / 8] >> (page % 8) & 1 != 0) {
            // Only what is noted is protected again.
            slot.protected[first + page] |= std::mem::take(&mut slot.noted[first + page]);
        }
        self.0.clears.set(self.0.clears.get() + 1);
        Ok(())
    }

    fn has_manual_protect(&self) -> io::Result<bool> {
        Ok(self.0.has_manual_protect)
    }

    fn set_manual_protect(&self, on: bool) -> io::Result<()> {
        self.0.manual_protect.set(on);
        Ok(())
    }
}

/// What a destination has of each block: how often each page was written.
struct Copy {
    dirty: Vec<DirtyBitmap>,
    pages: Vec<Vec<u32>>,
}

impl Copy {
    fn new() -> Self {
        Self {
            dirty: BLOCKS.into_iter().map(DirtyBitmap::dirty).collect(),
            pages: BLOCKS
                .into_iter()
                .map(|pages| vec![0; usize::try_from(pages).unwrap()])
                .collect(),
        }
    }

    fn fetch(&mut self, memory: &GuestMemory, log: &mut dyn DirtyLog) {
        log.fetch().unwrap();
        for ((index, _), dirty) in memory.indexed().zip(&mut self.dirty) {
            log.harvest(index, dirty).unwrap();
        }
    }

    /// A round of at most so many chunks, with writes behind each of them.
    fn round(
        &mut self,
        (memory, vm): (&GuestMemory, &Vm),
        mut log: Option<&mut KvmDirtyLog<Calls>>,
        (mut writes, chunks): (impl Iterator<Item = (usize, usize)>, usize),
    ) {
        let mut left = chunks;
        for (block, (index, _)) in memory.indexed().enumerate() {
            let mut walk = Walk::new(index);
            while left > 0 {
                left -= 1;
                let log = log.as_deref_mut().map(|log| log as &mut dyn DirtyLog);
                let chunk = walk.next(&mut self.dirty[block], log).unwrap();
                let Some(chunk) = chunk else { break };
                for run in chunk.runs() {
                    writes
                        .by_ref()
                        .take(2)
                        .for_each(|(slot, page)| vm.write(slot, page));
                    for page in run.first_page..run.first_page + run.pages {
                        self.send(vm, block, page);
                    }
                    writes
                        .by_ref()
                        .take(2)
                        .for_each(|(slot, page)| vm.write(slot, page));
                }
            }
        }
    }

    fn send(&mut self, vm: &Vm, block: usize, page: u64) {
        let slots =
            SLOTS
                .iter()
                .zip(vm.slots.borrow().iter())
                .find_map(|((of, first, pages), slot)| {
                    let there = *of == block && (*first..first + pages).contains(&page);
                    there.then(|| slot.memory[usize::try_from(page - first).unwrap()])
                });
        self.pages[block][usize::try_from(page).unwrap()] = slots.unwrap_or(0);
    }

    /// Whether it has the last write to each page of each slot.
    fn is_whole(&self, vm: &Vm) -> bool {
        SLOTS
            .iter()
            .zip(vm.slots.borrow().iter())
            .all(|((block, first, pages), slot)| {
                let pages =
                    usize::try_from(*first).unwrap()..usize::try_from(first + pages).unwrap();
                self.pages[*block][pages] == slot.memory
            })
    }
}

fn writes(most: usize) -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..SLOTS.len(), 0_usize..10_000), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_write_is_lost(
        manual in any::<bool>(),
        stride in (1_u64..10_000, 1_u64..20_000),
        rounds in prop::collection::vec((writes(200), 0_usize..8), 1..5),
        late in writes(50),
    ) {
        let vm = Vm::new(manual);
        let (memory, log) = vm.log();
        let mut log = log.clear_at_once(stride.0, stride.1);
        // A log can be started again.
        for _ in 0..2 {
            let mut copy = Copy::new();
            log.start().unwrap();
            for (writes, chunks) in &rounds {
                let writes = (writes.iter().copied(), *chunks);
                copy.round((&memory, &vm), Some(&mut log), writes);
                copy.fetch(&memory, &mut log);
            }
            late.iter().for_each(|(slot, page)| vm.write(*slot, *page));
            copy.fetch(&memory, &mut log);
            copy.round((&memory, &vm), None, (std::iter::empty(), usize::MAX));
            log.stop();
            prop_assert!(copy.is_whole(&vm));
        }
    }
}

#[test]
fn manual_protection_is_the_vms_only_while_it_migrates() {
    let vm = Vm::new(true);
    let (_, mut log) = vm.log();
    assert!(log.has_manual_protect() && !vm.manual_protect.get());
    log.start().unwrap();
    assert!(vm.manual_protect.get());
    log.stop();
    assert!(!vm.manual_protect.get());

    // One that the VMM has switched on stays on.
    let (_, log) = vm.log();
    let mut log = log.keep_manual_protect();
    vm.manual_protect.set(true);
    log.start().unwrap();
    log.stop();
    assert!(vm.manual_protect.get());
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let mut vm = Vm::new(true);
    Rc::get_mut(&mut vm).unwrap().refuses = Some(2);
    let (_, mut log) = vm.log();
    let error = log.start().unwrap_err().to_string();
    assert!(error.contains("slot 0x2"), "{error}");
    assert!(!vm.manual_protect.get());
    assert!(vm.slots.borrow().iter().all(|slot| !slot.logged));
}

#[test]
fn scattered_pages_are_cleared_together() {
    let vm = Vm::new(true);
    let (memory, mut log) = vm.log();
    let mut copy = Copy::new();
    log.start().unwrap();
    copy.round(
        (&memory, &vm),
        Some(&mut log),
        (std::iter::empty(), usize::MAX),
    );
    // One stride, of which each slot has a part.
    assert_eq!(vm.clears.get(), SLOTS.len());
    for page in [3, 999] {
        vm.write(0, page);
    }
    vm.write(2, 1799);
    copy.fetch(&memory, &mut log);
    copy.round(
        (&memory, &vm),
        Some(&mut log),
        (std::iter::empty(), usize::MAX),
    );
    assert_eq!(vm.clears.get(), SLOTS.len() + 2);
    assert!(copy.is_whole(&vm));
}
