// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Just the pages that were written to are reported, and just those that are sent are forgotten.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use multifd_kvm::{KvmDirtyLog, KvmDirtyRing};
use multifd_migration::dirty::Walk;
use multifd_migration::{DirtyBitmap, DirtyLog};

use super::guest::{BLOCKS, Guest, Vcpu, WRITE_ONE};
use super::kvm;

/// Pages at the borders of words, slots, chunks and blocks, as numbers in all of the memory.
const BORDERS: [u64; 18] = [
    0, 1, 63, 64, 999, 1000, 1063, 1064, 4095, 4096, 4097, 4160, 4161, 8199, 8200, 8206, 8207, 8499,
];

#[test]
fn with_manual_protect() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyLog::new(&guest.vm, &guest.memory, guest.slots())?;
    let mut vcpu = guest.vcpu(0, &WRITE_ONE)?;
    log.start().expect("it can start");
    let all: Vec<_> = BLOCKS.into_iter().map(DirtyBitmap::dirty).collect();
    Test::clear(&guest, &mut log, &all)?;
    let mut test = Test {
        guest: &guest,
        log: &mut log,
        vcpu: &mut vcpu,
    };
    test.reports_what_is_written()?;
    test.forgets_what_is_cleared()
}

#[test]
fn with_protection_at_fetch() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyLog::protecting_at_fetch(&guest.vm, &guest.memory, guest.slots())?;
    let mut vcpu = guest.vcpu(0, &WRITE_ONE)?;
    log.start().expect("it can start");
    let mut test = Test {
        guest: &guest,
        log: &mut log,
        vcpu: &mut vcpu,
    };
    test.reports_what_is_written()
}

#[test]
fn with_the_ring() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyRing::enable(&guest.vm, &guest.memory, guest.slots(), 1024)?;
    let mut vcpu = guest.vcpu(0, &WRITE_ONE)?;
    log.add_vcpu(&vcpu.fd)?;
    log.start().expect("it can start");
    let mut test = Test {
        guest: &guest,
        log: &mut log,
        vcpu: &mut vcpu,
    };
    test.reports_what_is_written()
}

struct Test<'a> {
    guest: &'a Guest,
    log: &'a mut dyn DirtyLog,
    vcpu: &'a mut Vcpu,
}

impl Test<'_> {
    fn reports_what_is_written(&mut self) -> Result<()> {
        let all: BTreeSet<_> = BORDERS.into_iter().collect();
        self.write(&all)?;
        ensure!(self.dirty()? == all);
        self.clear_pages(&all)?;
        ensure!(self.dirty()?.is_empty(), "they are reported once");
        for page in BORDERS {
            self.write(&[page].into())?;
            let got = self.dirty()?;
            ensure!(
                got == [page].into(),
                "page {page} was written to, not {got:?}"
            );
            self.clear_pages(&got)?;
        }
        Ok(())
    }

    fn forgets_what_is_cleared(&mut self) -> Result<()> {
        let all: BTreeSet<_> = BORDERS.into_iter().collect();
        let (sent, kept): (BTreeSet<_>, BTreeSet<_>) = all.iter().partition(|page| *page % 2 == 0);
        self.write(&all)?;
        self.clear_pages(&sent)?;
        let got = self.dirty()?;
        ensure!(got == kept, "{got:?} are left");
        self.write(&sent)?;
        ensure!(self.dirty()? == all, "a page is written to again");
        Ok(())
    }

    fn write(&mut self, pages: &BTreeSet<u64>) -> Result<()> {
        pages.iter().try_for_each(|page| self.vcpu.write(*page))
    }

    /// What the log reports, as numbers in all of the memory.
    fn dirty(&mut self) -> Result<BTreeSet<u64>> {
        self.log.fetch().expect("a log that was started");
        let mut pages = BTreeSet::new();
        let mut first = 0;
        for ((block, _), count) in self.guest.memory.indexed().zip(BLOCKS) {
            let mut dirty = DirtyBitmap::clean(count);
            self.log
                .harvest(block, &mut dirty)
                .expect("a log that was started");
            pages.extend(
                (0..count)
                    .filter(|page| dirty.contains(*page))
                    .map(|page| first + page),
            );
            first += count;
        }
        Ok(pages)
    }

    fn clear_pages(&mut self, pages: &BTreeSet<u64>) -> Result<()> {
        let mut first = 0;
        let blocks = BLOCKS.into_iter().map(|count| {
            let mut dirty = DirtyBitmap::clean(count);
            let of_block = pages.range(first..first + count);
            of_block.for_each(|page| dirty.mark(page - first, 1));
            first += count;
            dirty
        });
        Self::clear(self.guest, self.log, &blocks.collect::<Vec<_>>())
    }

    /// Clears all pages that are dirty in the bitmaps of the blocks.
    fn clear(guest: &Guest, log: &mut dyn DirtyLog, blocks: &[DirtyBitmap]) -> Result<()> {
        for ((index, _), dirty) in guest.memory.indexed().zip(blocks) {
            let (mut dirty, mut walk) = (dirty.clone(), Walk::new(index));
            while walk
                .next(&mut dirty, Some(log))
                .expect("a log that was started")
                .is_some()
            {}
        }
        Ok(())
    }
}
