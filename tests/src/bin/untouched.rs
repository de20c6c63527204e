// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What it costs to migrate memory that nobody has touched: time, and what it takes on both sides afterwards.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin untouched
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints")]

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::{Source, SourceConfig};
use multifd_tests::host;
use rustix::fs::{MemfdFlags, memfd_create};

#[derive(Parser)]
struct Args {
    /// GiB of the guest.
    #[arg(long, default_value_t = 2)]
    gib: u64,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only as it is, not also with all memory read.
    #[arg(long)]
    untouched_only: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let len = args.gib << 30;
    for shared in [true, false] {
        for asks in [true, false] {
            if args.untouched_only && !asks {
                continue;
            }
            for _ in 0..args.runs {
                measure(len, shared, asks)?;
            }
        }
    }
    Ok(())
}

fn measure(len: u64, shared: bool, asks: bool) -> Result<()> {
    let (source, destination) = (
        Memory::new(len, shared, asks)?,
        Memory::new(len, shared, asks)?,
    );
    let before = (own_rss()?, source.held()?, destination.held()?);
    let time = migrate(source.guest.clone(), destination.guest.clone())?;
    let after = (own_rss()?, source.held()?, destination.held()?);
    println!(
        "{} GiB, {}, {}: {:.3} s, process {} to {} MiB, source {} to {} MiB, destination {} to {} MiB",
        len >> 30,
        if shared { "shared" } else { "private" },
        if asks { "asked" } else { "read" },
        time.as_secs_f64(),
        before.0 >> 20,
        after.0 >> 20,
        before.1 >> 20,
        after.1 >> 20,
        before.2 >> 20,
        after.2 >> 20,
    );
    Ok(())
}

struct Memory {
    guest: GuestMemory,
    file: Option<File>,
}

impl Memory {
    fn new(len: u64, shared: bool, asks: bool) -> Result<Self> {
        let bytes = usize::try_from(len)?;
        let file = match shared {
            true => Some(File::from(memfd_create("guest", MemfdFlags::CLOEXEC)?)),
            false => None,
        };
        let mut mapping = match &file {
            Some(file) => {
                file.set_len(len)?;
                Mapping::shared(file.as_fd(), bytes)?
            }
            None => Mapping::anonymous(bytes)?,
        };
        if asks {
            mapping.learn_untouched(file.as_ref().map(|file| file.as_fd()))?;
        }
        let block = RamBlock::new(BlockName::new("ram").context("a name")?, Arc::new(mapping))?;
        let guest = GuestMemory::new(PageSize::X86, vec![block])?;
        Ok(Self { guest, file })
    }

    /// Bytes of a memfd that are in memory.
    fn held(&self) -> Result<u64> {
        let Some(file) = &self.file else { return Ok(0) };
        Ok(file.metadata()?.blocks() * 512)
    }
}

/// Migrates over unix sockets, with two channels.
fn migrate(from: GuestMemory, to: GuestMemory) -> Result<Duration> {
    let start = Instant::now();
    host::migrate((SourceConfig::default(), 2), from, to, Source::run_stopped)?;
    Ok(start.elapsed())
}

/// Bytes of this process that are in memory, page tables included.
fn own_rss() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| -> Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_ascii_whitespace().nth(1));
        Ok(number.context("no such line")?.parse()?)
    };
    Ok((kib("VmRSS:")? + kib("VmPTE:")?) << 10)
}
