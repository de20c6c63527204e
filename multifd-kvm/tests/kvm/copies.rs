// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory is copied in rounds, as the engine does it, while two vCPUs write to it.

use anyhow::{Context, Result, ensure};
use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;
use multifd_kvm::{KvmDirtyLog, KvmDirtyRing, RingCollector};
use multifd_migration::dirty::Walk;
use multifd_migration::{DirtyBitmap, DirtyLog};

use super::guest::{BLOCKS, Guest, PAGE, Running, Vcpu, WRITE_ALL, WRITES_PER_EXIT};
use super::{kvm, skip};

const VCPUS: u64 = 2;

#[test]
fn manual_protect_loses_nothing() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyLog::new(&guest.vm, &guest.memory, guest.slots())?;
    ensure!(log.has_manual_protect(), "Linux 5.0 has it");
    migrates(&guest, vcpus(&guest)?, &mut log, &[])
}

#[test]
fn protection_at_fetch_loses_nothing() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyLog::protecting_at_fetch(&guest.vm, &guest.memory, guest.slots())?;
    migrates(&guest, vcpus(&guest)?, &mut log, &[])
}

#[test]
fn the_ring_loses_nothing() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    // Small, so that it is full again and again.
    let mut log = KvmDirtyRing::enable(&guest.vm, &guest.memory, guest.slots(), 1024)?;
    let vcpus = vcpus(&guest)?;
    let collectors = collectors(&log, &vcpus)?;
    migrates(&guest, vcpus, &mut log, &collectors)
}

/// Where the guest's writes are emulated, many come between two looks at whether its ring is full.
#[test]
fn a_ring_that_is_overrun_ends_one_migration() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let mut log = KvmDirtyRing::enable(&guest.vm, &guest.memory, guest.slots(), 1024)?;
    let vcpus = vcpus(&guest)?.into_iter();
    // So many that nothing but a full ring stops it for long.
    let vcpus = vcpus.map(|vcpu| vcpu.writes_per_exit(2000));
    let vcpus: Vec<_> = vcpus.collect::<Result<_>>()?;
    let collectors = collectors(&log, &vcpus)?;
    // Here the guest runs on, whatever becomes of the migration.
    let (vcpus, migrated) = migrate(&guest, vcpus, &mut log, &collectors)?;
    if let Err(error) = migrated {
        let lost = format!("{error:#}");
        ensure!(lost.contains("overrun the dirty ring"), "{lost}");
    } else {
        skip("KVM has not overrun a ring");
    }
    let vcpus = vcpus.into_iter();
    let vcpus = vcpus.map(|vcpu| vcpu.writes_per_exit(WRITES_PER_EXIT));
    let vcpus = vcpus.collect::<Result<_>>()?;
    migrates(&guest, vcpus, &mut log, &collectors)
}

#[test]
fn a_ring_comes_before_vcpus() -> Result<()> {
    let Some(kvm) = kvm() else { return Ok(()) };
    let guest = Guest::new(&kvm)?;
    let _vcpu = guest.vcpu(0, &WRITE_ALL)?;
    let error = KvmDirtyRing::enable(&guest.vm, &guest.memory, guest.slots(), 1024);
    let error = error.err().context("there is a vCPU already")?.to_string();
    ensure!(error.contains("switch the dirty ring on"), "{error}");
    Ok(())
}

fn vcpus(guest: &Guest) -> Result<Vec<Vcpu>> {
    (0..VCPUS)
        .map(|number| guest.vcpu(number, &WRITE_ALL))
        .collect()
}

fn collectors(log: &KvmDirtyRing, vcpus: &[Vcpu]) -> Result<Vec<RingCollector>> {
    let collectors = vcpus.iter().map(|vcpu| log.add_vcpu(&vcpu.fd));
    Ok(collectors.collect::<Result<_, _>>()?)
}

/// Migrates twice: a log can be started again.
fn migrates(
    guest: &Guest,
    mut vcpus: Vec<Vcpu>,
    log: &mut dyn DirtyLog,
    rings: &[RingCollector],
) -> Result<()> {
    for _ in 0..2 {
        let migrated;
        (vcpus, migrated) = migrate(guest, vcpus, log, rings)?;
        migrated?;
    }
    Ok(())
}

/// Migrates, or tries to; then the guest is stopped. `rings` are those of the vCPUs, or none.
fn migrate(
    guest: &Guest,
    vcpus: Vec<Vcpu>,
    log: &mut dyn DirtyLog,
    rings: &[RingCollector],
) -> Result<(Vec<Vcpu>, Result<()>)> {
    let vcpus = vcpus.into_iter().enumerate();
    let running = vcpus.map(|(number, vcpu)| vcpu.start(rings.get(number).cloned()));
    let running: Vec<_> = running.collect();
    let mut copy = Copy::of(&guest.memory);
    let sent = rounds(&running, &mut copy, log, !rings.is_empty());
    if sent.is_err() {
        // The guest runs on, at the source.
        log.stop();
        running.iter().for_each(Running::wait_writes);
    }
    let vcpus = running.into_iter().map(Running::stop);
    let vcpus: Vec<_> = vcpus.collect::<Result<_>>()?;
    if sent.is_err() {
        return Ok((vcpus, sent));
    }
    let last = copy.harvest(log).and_then(|()| copy.round(log, false));
    log.stop();
    let checked = last.and_then(|()| copy.check(&vcpus));
    Ok((vcpus, checked))
}

/// While the guest runs.
fn rounds(running: &[Running], copy: &mut Copy, log: &mut dyn DirtyLog, ring: bool) -> Result<()> {
    log.start().map_err(flat)?;
    if ring {
        running.iter().for_each(Running::wait_full_ring);
    }
    for _ in 0..8 {
        running.iter().for_each(Running::wait_writes);
        copy.round(log, true)?;
        copy.harvest(log)?;
    }
    Ok(())
}

/// A copy of the guest's memory, and which pages of it are old.
struct Copy {
    memory: GuestMemory,
    blocks: Vec<(BlockIndex, DirtyBitmap, Vec<u8>)>,
}

impl Copy {
    fn of(memory: &GuestMemory) -> Self {
        let blocks = memory.indexed().zip(BLOCKS).map(|((index, _), pages)| {
            let bytes = vec![0xee; usize::try_from(pages * PAGE).expect("small")];
            (index, DirtyBitmap::dirty(pages), bytes)
        });
        Self {
            memory: memory.clone(),
            blocks: blocks.collect(),
        }
    }

    fn harvest(&mut self, log: &mut dyn DirtyLog) -> Result<()> {
        log.fetch().map_err(flat)?;
        for (index, dirty, _) in &mut self.blocks {
            log.harvest(*index, dirty).map_err(flat)?;
        }
        Ok(())
    }

    fn round(&mut self, log: &mut dyn DirtyLog, clear: bool) -> Result<()> {
        for (index, dirty, bytes) in &mut self.blocks {
            let block = self.memory.block(*index).context("a block")?;
            let mut walk = Walk::new(*index);
            loop {
                let log: Option<&mut dyn DirtyLog> = match clear {
                    true => Some(&mut *log),
                    false => None,
                };
                let Some(chunk) = walk.next(dirty, log).map_err(flat)? else {
                    break;
                };
                for run in chunk.runs() {
                    let (at, len) = (run.first_page * PAGE, run.pages * PAGE);
                    let (at, len) = (usize::try_from(at)?, usize::try_from(len)?);
                    let span = block.span(at as u64, len).context("inside of the block")?;
                    span.copy_to(&mut bytes[at..at + len]);
                }
            }
        }
        Ok(())
    }

    /// Every page of the copy has as many writes of each vCPU as that vCPU made.
    fn check(&self, vcpus: &[Vcpu]) -> Result<()> {
        let pages = usize::try_from(BLOCKS.iter().sum::<u64>())?;
        let copy = self
            .blocks
            .iter()
            .flat_map(|(_, _, bytes)| bytes.chunks(4096));
        let copy: Vec<_> = copy.collect();
        for (number, vcpu) in vcpus.iter().enumerate() {
            let mut counts = vec![0; pages];
            vcpu.add_writes(&mut counts);
            ensure!(counts.iter().any(|count| *count > 0), "it has not run");
            for (page, want) in counts.iter().enumerate() {
                let there = vcpu.count(page as u64);
                ensure!(there == *want, "page {page} has {there} writes, not {want}");
                let bytes = copy[page][number * 4..][..4].try_into()?;
                let got = u32::from_le_bytes(bytes);
                ensure!(
                    got == *want,
                    "page {page}, vCPU {number}: {got} of {want} writes"
                );
            }
        }
        Ok(())
    }
}

fn flat(error: multifd_migration::HostError) -> anyhow::Error {
    anyhow::anyhow!(error)
}
