// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest of 2 GiB of which a little has been touched.

use anyhow::{Result, ensure};
use migration_params::ZeroPageDetection;

use crate::rig::{Host, Kind, Memory, PAGE, migrate};

const GUEST: u64 = 2 << 30;
/// A page in so many of the first half.
const EVERY: usize = 1024;

#[test]
fn shared_memory_stays_untouched() -> Result<()> {
    stays_untouched(Kind::Shared, ZeroPageDetection::Multifd, GUEST)
}

#[test]
fn private_memory_stays_untouched() -> Result<()> {
    stays_untouched(Kind::Anonymous, ZeroPageDetection::Multifd, GUEST)
}

#[test]
fn zero_pages_on_the_main_channel_are_not_read_either() -> Result<()> {
    stays_untouched(Kind::Shared, ZeroPageDetection::Legacy, GUEST / 4)?;
    stays_untouched(Kind::Anonymous, ZeroPageDetection::Legacy, GUEST / 4)
}

#[test]
fn where_zeros_are_sent_the_source_still_reads_none() -> Result<()> {
    for kind in [Kind::Shared, Kind::Anonymous] {
        let (source, destination) = pair(kind, GUEST / 16)?;
        let before = source.resident()?;
        let report = send(ZeroPageDetection::None, &source, &destination)?;
        ensure!(
            source.resident()? < before + (1 << 20),
            "{kind:?}: {before}"
        );
        let pages = GUEST / 16 / PAGE;
        ensure!(
            report.zero_pages() == 0,
            "{} zero pages",
            report.zero_pages()
        );
        ensure!(report.channels.total().normal_pages >= pages);
        same(&source, &destination)?;
    }
    Ok(())
}

fn stays_untouched(kind: Kind, zero_pages: ZeroPageDetection, len: u64) -> Result<()> {
    let (source, destination) = pair(kind, len)?;
    let data = len / 2 / EVERY as u64;
    let before = (source.resident()?, destination.resident()?);
    let report = send(zero_pages, &source, &destination)?;
    let after = (source.resident()?, destination.resident()?);
    let all = (before, after);
    if before.0 == data {
        ensure!(all == ((data, 0), (data, data)), "{all:?}");
    } else {
        // The system backs more than what is touched, with huge pages.
        ensure!(before.0 > data && before.1 == 0, "{all:?}");
        let most = before.0 + (32 << 20);
        ensure!(after.0 <= most && after.1 <= most, "{all:?}");
    }
    let untouched = (len - data) / PAGE;
    ensure!(report.zero_pages() == untouched, "{}", report.zero_pages());
    same(&source, &destination)
}

fn pair(kind: Kind, len: u64) -> Result<(Memory, Memory)> {
    let pages = len / PAGE;
    let source = Memory::new(kind, pages)?;
    for page in (0..pages / 2).step_by(EVERY) {
        source.fill(page, content(page))?;
    }
    Ok((source, Memory::new(kind, pages)?))
}

fn send(
    zero_pages: ZeroPageDetection,
    source: &Memory,
    destination: &Memory,
) -> Result<multifd_migration::Report> {
    let from = source.guest()?;
    let mut host = Host::new(&from);
    migrate(zero_pages, &from, &mut host, &destination.guest()?)
}

/// Looks at what was data, and at a page beside each.
fn same(source: &Memory, destination: &Memory) -> Result<()> {
    let pages = source.block.len() / PAGE;
    for page in (0..pages / 2).step_by(EVERY) {
        let got = (destination.byte(page)?, destination.byte(page + 1)?);
        ensure!(got == (content(page), 0), "page {page}: {got:?}");
    }
    Ok(())
}

fn content(page: u64) -> u8 {
    (page / EVERY as u64).to_le_bytes()[0] | 1
}
