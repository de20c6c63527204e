// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each thread of a migration under a seccomp filter that a hypervisor puts on it, of what is documented in
//! `multifd_migration::system_calls`. It kills whoever calls anything else.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod confined;
mod host_threads;
mod lists;

use std::num::NonZeroU64;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{Fault, MethodOptions, MultifdMethods, Spawn};
use multifd_migration::{DestinationConfig, SourceConfig};
use multifd_tests::host;
use multifd_tests::live::{Guest, Outcome, Pair, Rate};

use confined::{AtEnd, Confined, confine};

const CHANNELS: u8 = 2;

#[test]
fn every_method_migrates() -> Result<()> {
    every_method(AtEnd::Stay)
}

#[test]
fn threads_may_end() -> Result<()> {
    every_method(AtEnd::Exit)
}

fn every_method(end: AtEnd) -> Result<()> {
    for name in host::registry()?.names() {
        for who in [Accelerator::Auto, Accelerator::Software] {
            let context = || format!("{name}, {who}");
            let threads = Arc::new(Confined::new(end)?);
            let mut guest = Guest::start(4096, Rate::Pages(500))?;
            let outcome = migrate(method(name, who)?, &threads, &mut guest, false);
            arrived(&guest, &outcome.with_context(context)?).with_context(context)?;
            let ready = threads.channels.load(Ordering::Relaxed);
            ensure!(ready == 2 * usize::from(CHANNELS), "{ready} channels");
            // The destination's connections, and on each side a thread beside the main connection.
            let others = threads.others.load(Ordering::Relaxed);
            ensure!(others == usize::from(CHANNELS) + 1 + 2, "{others} others");
        }
    }
    Ok(())
}

#[test]
fn a_failure_is_no_crime() -> Result<()> {
    let threads = Arc::new(Confined::new(AtEnd::Stay)?);
    let mut guest = Guest::start(4096, Rate::Pages(500))?;
    let cancelled = migrate(
        method("none", Accelerator::Auto)?,
        &threads,
        &mut guest,
        true,
    )?;
    let failure = cancelled.source.err().context("it was cancelled")?;
    ensure!(failure.error.fault() == Fault::Aborted, "{failure}");
    let outcome = migrate(
        method("none", Accelerator::Auto)?,
        &threads,
        &mut guest,
        false,
    )?;
    arrived(&guest, &outcome)
}

#[test]
fn the_filter_kills() -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args(["--exact", "opens_a_file", "--ignored"])
        .status()?;
    ensure!(status.signal() == Some(libc::SIGSYS), "{status}");
    Ok(())
}

#[test]
#[ignore = "it is killed: the_filter_kills runs it"]
fn opens_a_file() -> Result<()> {
    confine(&["`Send`"])?;
    std::fs::File::open("/dev/null")?;
    Ok(())
}

fn method(name: &str, who: Accelerator) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::default().with(Accelerator::OPTION, who);
    Ok(host::registry()?.open(name, &options)?)
}

fn migrate(
    method: Arc<dyn MultifdMethods>,
    threads: &Arc<Confined>,
    guest: &mut Guest,
    cancel: bool,
) -> Result<Outcome> {
    let mut config = SourceConfig::default();
    config.threads = Arc::clone(threads) as Arc<dyn Spawn>;
    if cancel {
        // Slow enough to be met.
        config.tuning.max_bandwidth = NonZeroU64::new(16 << 20);
    }
    let mut destination = DestinationConfig::default();
    destination.receiver.threads = Arc::clone(threads) as Arc<dyn Spawn>;
    let pair = Pair {
        config,
        method,
        channels: CHANNELS,
        return_path: true,
        ends_destination_late: false,
        on_start: None,
    };
    pair.migrate_to(destination, guest, |controls| {
        let source = controls.source;
        while cancel && source.info().ram.normal < 100 && !source.status().is_final() {
            std::thread::yield_now();
        }
        if cancel {
            source.cancel();
        }
    })
}

fn arrived(guest: &Guest, outcome: &Outcome) -> Result<()> {
    outcome.source.as_ref().map_err(Clone::clone)?;
    outcome.destination.as_ref().map_err(Clone::clone)?;
    guest.check_copy(&outcome.copy)
}
