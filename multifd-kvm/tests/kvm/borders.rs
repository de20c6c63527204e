//! Just the pages that were written to are reported, and just those that are sent are forgotten.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use multifd_kvm::{KvmDirtyLog, KvmDirtyRing};
use multifd_migration::dirty::Chunk;
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
    for chunk in Test::all_chunks() {
        Test::clear(&guest, &mut log, chunk)?;
    }
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
        for (block, empty) in Self::all_chunks() {
            let first = empty.first_page + BLOCKS[..block].iter().sum::<u64>();
            let mut chunk = Chunk {
                words: [0; 64],
                ..empty.clone()
            };
            for bit in 0..4096 {
                let mask = empty.words[bit / 64] & 1 << (bit % 64);
                if pages.contains(&(first + bit as u64)) {
                    chunk.words[bit / 64] |= mask;
                }
            }
            Self::clear(self.guest, self.log, (block, chunk))?;
        }
        Ok(())
    }

    fn clear(guest: &Guest, log: &mut dyn DirtyLog, (block, chunk): (usize, Chunk)) -> Result<()> {
        let (index, _) = guest.memory.indexed().nth(block).expect("a block");
        log.clear(index, &chunk).expect("a log that was started");
        Ok(())
    }

    /// Every page of each block, as dirty chunks.
    fn all_chunks() -> Vec<(usize, Chunk)> {
        let mut chunks = Vec::new();
        for (block, pages) in BLOCKS.into_iter().enumerate() {
            let (mut dirty, mut from) = (DirtyBitmap::dirty(pages), 0);
            while let Some(chunk) = dirty.take_chunk(&mut from) {
                chunks.push((block, chunk));
            }
        }
        chunks
    }
}
