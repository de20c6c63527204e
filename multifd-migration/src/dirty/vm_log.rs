// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The log of a whole VM at once.

use std::sync::{Arc, Mutex};

use multifd_core::memory::BlockIndex;

use super::guest_map::{GuestMap, NoRam};
use super::{DirtyBitmap, DirtyLog};
use crate::HostError;

/// A log that tells of all of a VM's memory at once, by the guest's addresses, and forgets what it has told: such as
/// a VMM has that asks the hypervisor, its vhost-user back ends and its own devices together.
///
/// A VM that is shared, `Arc<Mutex<Vm>>`, is one if the `Vm` is: it is locked for each call, and not between them.
pub trait VmLog {
    /// From now on every write to guest memory is noted.
    ///
    /// # Errors
    /// Writes cannot be noted: the migration fails, and the guest runs on.
    fn start(&mut self) -> Result<(), HostError>;

    /// Tells `writes` what was written to since the last call, or since the start. Every write is told by this call
    /// or by a later one; with the guest paused, by this one.
    ///
    /// # Errors
    /// As [`Self::start`].
    fn take(&mut self, writes: &mut Writes<'_>) -> Result<(), HostError>;

    /// Writes need not be noted any more.
    fn stop(&mut self);
}

/// What was written to, by the guest's physical addresses.
#[derive(Debug)]
pub struct Writes<'a> {
    map: &'a GuestMap,
    dirty: &'a mut [DirtyBitmap],
}

/// A [`VmLog`] as the [`DirtyLog`] of a migration: it is asked once for each fetch, and what it tells is kept until
/// the migration asks for the block.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use multifd_core::GuestMemory;
/// use multifd_migration::HostError;
/// use multifd_migration::dirty::{GuestMap, Placement, VmDirtyLog, VmLog, Writes};
///
/// # struct Range { gpa: u64, length: u64 }
/// # struct Vm;
/// # impl Vm {
/// #     fn start_dirty_log(&mut self) -> Result<(), HostError> { Ok(()) }
/// #     fn dirty_log(&mut self) -> Result<Vec<Range>, HostError> { Ok(Vec::new()) }
/// #     fn stop_dirty_log(&mut self) -> Result<(), HostError> { Ok(()) }
/// # }
/// impl VmLog for Vm {
///     fn start(&mut self) -> Result<(), HostError> {
///         self.start_dirty_log()
///     }
///
///     fn take(&mut self, writes: &mut Writes<'_>) -> Result<(), HostError> {
///         for range in self.dirty_log()? {
///             writes.range(range.gpa, range.length)?;
///         }
///         Ok(())
///     }
///
///     fn stop(&mut self) {
///         // Logging that goes on costs time, no more.
///         let _ = self.stop_dirty_log();
///     }
/// }
///
/// # fn f(vm: &Arc<Mutex<Vm>>, memory: &GuestMemory) -> Result<(), Box<dyn std::error::Error>> {
/// let (block, ram) = memory.indexed().next().ok_or("no RAM")?;
/// let map = GuestMap::new(memory, [Placement { address: 0, len: ram.len(), block, offset: 0 }])?;
/// let log = VmDirtyLog::new(Arc::clone(vm), map);
/// # let _ = log;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VmDirtyLog<L> {
    log: L,
    map: GuestMap,
    /// What was told and not asked for yet, by block; none while the log is stopped.
    told: Vec<DirtyBitmap>,
}

impl<L: VmLog> VmDirtyLog<L> {
    /// The log of the memory that `map` was made of.
    pub fn new(log: L, map: GuestMap) -> Self {
        Self {
            log,
            map,
            told: Vec::new(),
        }
    }

    /// The log that is asked.
    pub fn get_ref(&self) -> &L {
        &self.log
    }
}

impl<L: VmLog> DirtyLog for VmDirtyLog<L> {
    fn start(&mut self) -> Result<(), HostError> {
        self.told = self.map.clean();
        self.log.start()
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        self.log.take(&mut Writes {
            map: &self.map,
            dirty: &mut self.told,
        })
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        let told = self.told.get_mut(block.position());
        dirty.append(told.ok_or("the log was not started, or has no such RAM block")?);
        Ok(())
    }

    fn stop(&mut self) {
        self.log.stop();
        self.told = Vec::new();
    }
}

impl Writes<'_> {
    /// `len` bytes from the guest-physical `address` on were written to, or some of them.
    ///
    /// # Errors
    /// An address where no RAM block is: a log that knows of memory that does not migrate leaves it out itself.
    pub fn range(&mut self, address: u64, len: u64) -> Result<(), NoRam> {
        self.map.mark(self.dirty, address, len)
    }

    /// The pages whose bits are set were written to. The lowest bit of the first word is the page at the
    /// guest-physical `address`; a page has `page_bytes` bytes, whatever the guest's have. The words are in this
    /// host's byte order, where KVM's and vhost's are little-endian.
    ///
    /// # Errors
    /// As [`Self::range`].
    pub fn bitmap(&mut self, address: u64, page_bytes: u64, words: &[u64]) -> Result<(), NoRam> {
        for (at, word) in (0_u64..).zip(words) {
            let mut left = *word;
            while left != 0 {
                let first = u64::from(left.trailing_zeros());
                let pages = u64::from((left >> first).trailing_ones());
                let page = at.saturating_mul(64).saturating_add(first);
                let start = page_bytes
                    .checked_mul(page)
                    .and_then(|bytes| address.checked_add(bytes));
                let start = start.ok_or(NoRam(u64::MAX))?;
                self.range(start, page_bytes.saturating_mul(pages))?;
                // The run that was marked; all 64 bits at most.
                left &= !((u64::MAX >> (64 - pages)) << first);
            }
        }
        Ok(())
    }
}

impl<L: VmLog + ?Sized> VmLog for Arc<Mutex<L>> {
    fn start(&mut self) -> Result<(), HostError> {
        locked(self, L::start)?
    }

    fn take(&mut self, writes: &mut Writes<'_>) -> Result<(), HostError> {
        locked(self, |log| log.take(writes))?
    }

    fn stop(&mut self) {
        if let Err(error) = locked(self, L::stop) {
            log::warn!("the dirty log was not stopped: {error}");
        }
    }
}

/// Calls `call` with what is behind a lock.
fn locked<L: ?Sized, R>(log: &Mutex<L>, call: impl FnOnce(&mut L) -> R) -> Result<R, HostError> {
    let mut log = log
        .lock()
        .map_err(|_| "a thread of the VMM has panicked with the VM locked")?;
    Ok(call(&mut log))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use multifd_core::memory::Mapping;
    use multifd_core::wire::BlockName;
    use multifd_core::{GuestMemory, PageSize, RamBlock};
    use proptest::prelude::*;

    use super::super::Placement;
    use super::*;

    const PAGE: u64 = 4096;
    /// Block, first page in it, first page of the guest, pages: of each part. The third is the first
    /// one once more.
    const PARTS: [(usize, u64, u64, u64); 5] = [
        (0, 0, 0, 70),
        (1, 3, 70, 100),
        (0, 0, 300, 70),
        (0, 70, 200, 30),
        (1, 0, 500, 3),
    ];
    const BLOCKS: [u64; 2] = [100, 103];

    /// What a VM tells next, by the guest's addresses.
    #[derive(Debug, Default)]
    struct Vm {
        logs: bool,
        ranges: Vec<(u64, u64)>,
        /// Address, bytes of a page, words.
        bitmap: Option<(u64, u64, Vec<u64>)>,
    }

    impl VmLog for Vm {
        fn start(&mut self) -> Result<(), HostError> {
            self.logs = true;
            Ok(())
        }

        fn take(&mut self, writes: &mut Writes<'_>) -> Result<(), HostError> {
            assert!(self.logs, "it was not started");
            for (address, len) in std::mem::take(&mut self.ranges) {
                writes.range(address, len)?;
            }
            if let Some((address, page_bytes, words)) = self.bitmap.take() {
                writes.bitmap(address, page_bytes, &words)?;
            }
            Ok(())
        }

        fn stop(&mut self) {
            self.logs = false;
        }
    }

    fn memory() -> GuestMemory {
        let block = |(number, pages): (usize, u64)| {
            let region = Mapping::anonymous(usize::try_from(pages * PAGE).unwrap()).unwrap();
            let name = BlockName::new(&format!("ram{number}")).unwrap();
            RamBlock::new(name, Arc::new(region)).unwrap()
        };
        let blocks = BLOCKS.into_iter().enumerate().map(block).collect();
        GuestMemory::new(PageSize::X86, blocks).unwrap()
    }

    fn placements(memory: &GuestMemory) -> Vec<Placement> {
        let part = |(block, first, address, pages)| Placement {
            address: address * PAGE,
            len: pages * PAGE,
            block: memory.indexed().nth(block).unwrap().0,
            offset: first * PAGE,
        };
        PARTS.into_iter().map(part).collect()
    }

    fn log(vm: Vm) -> (Arc<Mutex<Vm>>, VmDirtyLog<Arc<Mutex<Vm>>>) {
        let memory = memory();
        let map = GuestMap::new(&memory, placements(&memory)).unwrap();
        let vm = Arc::new(Mutex::new(vm));
        (Arc::clone(&vm), VmDirtyLog::new(vm, map))
    }

    /// Block and page of a byte that the guest has at an address.
    fn place(address: u64) -> Option<(usize, u64)> {
        let page = address / PAGE;
        let part = PARTS
            .iter()
            .find(|(_, _, first, pages)| (*first..first + pages).contains(&page));
        part.map(|(block, first, address, _)| (*block, first + page - address))
    }

    fn harvest(log: &mut impl DirtyLog) -> BTreeSet<(usize, u64)> {
        let mut pages = BTreeSet::new();
        for ((index, _), count) in memory().indexed().zip(BLOCKS) {
            let mut dirty = DirtyBitmap::clean(count);
            log.harvest(index, &mut dirty).unwrap();
            let dirty = (0..count).filter(|page| dirty.contains(*page));
            pages.extend(dirty.map(|page| (index.position(), page)));
        }
        pages
    }

    proptest! {
        #[test]
        fn what_is_told_of_the_guest_is_reported_of_blocks(
            ranges in prop::collection::vec((0..170 * PAGE, 0..9 * PAGE), 0..6),
            page_bytes in prop_oneof![Just(1024_u64), Just(PAGE), Just(4 * PAGE)],
            words in prop::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 0..3),
        ) {
            // Within the first two parts, which adjoin.
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(address, len)| (address, len.min(170 * PAGE - address)))
                .collect();
            let in_parts = |bit: &u64| (bit + 1) * page_bytes <= 170 * PAGE;
            let bit = |bit: &u64| words.get(usize::try_from(bit / 64).unwrap()).is_some_and(|word| word >> (bit % 64) & 1 != 0);
            let bits: Vec<u64> = (0..192).filter(bit).filter(in_parts).collect();
            let words = (0..3).map(|word| {
                let of_word = bits.iter().filter(|bit| *bit / 64 == word);
                of_word.fold(0, |bits, bit| bits | 1 << (bit % 64))
            });
            let bitmap = (0, page_bytes, words.collect());

            let mut want = BTreeSet::new();
            let bytes = bits.iter().map(|bit| (bit * page_bytes, page_bytes));
            for (address, len) in ranges.iter().copied().chain(bytes) {
                want.extend((address..address + len).step_by(1024).filter_map(place));
                want.extend((len > 0).then(|| place(address + len - 1)).flatten());
            }
            let (_, mut log) = log(Vm { ranges, bitmap: Some(bitmap), ..Vm::default() });
            log.start().unwrap();
            log.fetch().unwrap();
            prop_assert_eq!(harvest(&mut log), want);
            log.fetch().unwrap();
            prop_assert!(harvest(&mut log).is_empty(), "it is reported once");
        }
    }

    #[test]
    fn a_shared_vm_is_locked_for_each_call_only() {
        let (vm, mut log) = log(Vm::default());
        log.start().unwrap();
        vm.try_lock().unwrap().ranges.push((501 * PAGE + 7, 1));
        log.fetch().unwrap();
        // Told, and not asked for yet: it is not lost with the next fetch.
        vm.try_lock().unwrap().ranges.push((300 * PAGE, 1));
        log.fetch().unwrap();
        assert_eq!(harvest(&mut log), [(0, 0), (1, 1)].into());
        log.stop();
        assert!(!vm.try_lock().unwrap().logs);
    }

    #[test]
    fn a_write_beside_all_ram_is_an_error() {
        for (address, len) in [(170, 1), (169, 2), (1 << 40, 1), (503, 1)] {
            let (vm, mut log) = log(Vm::default());
            log.start().unwrap();
            vm.lock().unwrap().ranges.push((address * PAGE, len * PAGE));
            let error = log.fetch().unwrap_err().to_string();
            assert!(error.contains("no RAM block"), "{error}");
        }
        let (vm, mut log) = log(Vm::default());
        log.start().unwrap();
        vm.lock().unwrap().bitmap = Some((PAGE, 1 << 60, vec![1 << 63]));
        assert!(log.fetch().is_err());
    }

    #[test]
    fn parts_that_cannot_be_are_refused() {
        let memory = memory();
        let whole = placements(&memory);
        assert!(GuestMap::new(&memory, whole.clone()).is_ok());
        let changes: [fn(&mut Placement); 6] = [
            |part| part.address += PAGE,
            |part| part.address = u64::MAX - PAGE + 1,
            |part| part.len += 40 * PAGE,
            |part| part.len = 0,
            |part| part.offset += 1,
            |part| part.offset = 100 * PAGE,
        ];
        for change in changes {
            let mut parts = whole.clone();
            change(&mut parts[0]);
            let error = GuestMap::new(&memory, parts.clone()).unwrap_err();
            assert!(
                error.to_string().contains("wanted"),
                "{:?}: {error}",
                parts[0]
            );
        }
    }

    #[test]
    fn a_log_that_was_not_started_reports_nothing_as_clean() {
        let (_, mut log) = log(Vm::default());
        let memory = memory();
        let (index, _) = memory.indexed().next().unwrap();
        assert!(
            log.harvest(index, &mut DirtyBitmap::clean(BLOCKS[0]))
                .is_err()
        );
    }
}
