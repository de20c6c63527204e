// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A VMM that embeds the crates and is made otherwise than the example: one dirty log of ranges for the whole VM, which
//! forgets what it tells, the machine behind a mutex, a word of its own before the migration on the main
//! connection, TLS on all connections, and threads under a filter of system calls.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod config;
mod destination;
mod filter;
mod source;
mod vm;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::Registry;
use multifd_migration::source::GuestAfter;
use multifd_migration::{DestinationFailure, GuestHere, Report, SourceFailure};
use multifd_tests::certificates::{Authority, Credentials};

use config::Config;
use filter::Confined;
use vm::Machine;

/// What both sides of a VMM have.
struct Host {
    registry: Registry,
    threads: Arc<Confined>,
    credentials: Credentials,
}

impl Host {
    fn new(authority: &Authority, name: &str) -> Result<Self> {
        let mut registry = Registry::new();
        registry.register(multifd_none::NoneFactory)?;
        registry.register(multifd_zstd::ZstdFactory)?;
        Ok(Self {
            registry,
            threads: Arc::new(Confined::new()?),
            credentials: authority.host(name)?,
        })
    }
}

const HOST: &str = "destination.example";
const LIMIT: Duration = Duration::from_secs(30);

/// A machine with memory below and above the hole at 4 GiB.
fn config(method: &str) -> Config {
    Config {
        method: method.to_owned(),
        channels: 2,
        regions: vec![(0, 8 << 20), (4 << 30, 4 << 20)],
    }
}

/// What came of it on both sides.
struct Migration {
    source: Result<Report, SourceFailure>,
    destination: Result<Report, DestinationFailure>,
    /// The machine at the destination.
    arrived: Arc<Machine>,
}

fn migrate(machine: &Arc<Machine>, config: &Config, broken: bool) -> Result<Migration> {
    let authority = Authority::new("a VMM's authority")?;
    let (here, there) = (Host::new(&authority, HOST)?, Host::new(&authority, HOST)?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let migration = thread::scope(|scope| -> Result<_> {
        let receives = scope.spawn(|| destination::receive(&there, &listener, broken));
        let source = source::send(&here, machine, config, address)?;
        let (destination, arrived) = receives.join().ok().context("a panic")??;
        Ok(Migration {
            source,
            destination,
            arrived,
        })
    })?;
    for host in [here, there] {
        let confined = host.threads.confined.load(Ordering::Relaxed);
        ensure!(
            confined >= usize::from(config.channels),
            "{confined} threads"
        );
    }
    Ok(migration)
}

#[test]
fn a_guest_moves_and_goes_on() -> Result<()> {
    for method in ["none", "zstd"] {
        let config = config(method);
        let machine = Machine::start(&config)?;
        let migration = migrate(&machine, &config, false)?;
        migration.source?;
        migration.destination?;
        ensure!(!machine.is_running(), "it has left");
        let before = migration.arrived.writes();
        migration.arrived.check_against(&machine)?;
        while migration.arrived.writes() < before + 100 {
            thread::yield_now();
        }
    }
    Ok(())
}

/// It is nowhere then until somebody has looked; and nothing is lost.
#[test]
fn a_guest_that_does_not_start_there_goes_on_here() -> Result<()> {
    let config = config("zstd");
    let machine = Machine::start(&config)?;
    let migration = migrate(&machine, &config, true)?;
    let failure = migration.source.err().context("it was started")?;
    ensure!(failure.guest == GuestAfter::InDoubt, "{failure}");
    let kept = migration.destination.err().context("it was started")?;
    ensure!(kept.guest == GuestHere::WholeButNotStarted, "{kept}");
    ensure!(!machine.is_running() && !migration.arrived.is_running());
    migration.arrived.check_against(&machine)?;
    // Who manages both hosts drops the copy, and lets the guest run where it was.
    drop(migration.arrived);
    machine.resume();
    let migration = migrate(&machine, &config, false)?;
    migration.source?;
    migration.destination?;
    migration.arrived.check_against(&machine)
}
