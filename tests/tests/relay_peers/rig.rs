// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that counts, and where it is sent.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use multifd_tests::command::Running;
use multifd_tests::guest::Counter;
use multifd_tests::interop::steps::{self, LIMIT, Link};
use multifd_tests::interop::{self, Age, Lab};
use multifd_tests::peer::Qemu;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a test has.
pub(crate) struct Rig {
    pub(crate) lab: Lab,
    pub(crate) counter: Counter,
    folder: TempDir,
}

impl Rig {
    /// `None` where there is no QEMU, which has been said.
    pub(crate) fn require() -> Result<Option<Self>> {
        let Some(lab) = interop::require()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            lab,
            counter: Counter::assemble(8 << 20)?,
            folder: TempDir::with_prefix("multifd-relay-")?,
        }))
    }

    /// A path for a socket.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }

    /// A guest that counts.
    pub(crate) fn source(&self, link: Link, uuid: Option<&str>) -> Result<Qemu> {
        let mut qemu = steps::start_guest(&self.lab, Age::Current, MACHINE, &self.counter, uuid)?;
        link.prepare(&mut qemu, Age::Current)?;
        Ok(qemu)
    }

    /// A QEMU that waits for the guest at a socket of this name.
    pub(crate) fn destination(&self, link: Link, name: &str, uuid: Option<&str>) -> Result<Qemu> {
        let path = self.path(name);
        if path.exists() {
            // One that was killed leaves it behind.
            std::fs::remove_file(&path)?;
        }
        let mut qemu =
            steps::start_destination(&self.lab, Age::Current, MACHINE, &self.counter, uuid)?;
        link.prepare(&mut qemu, Age::Current)?;
        qemu.migrate_incoming(&self.uri(name))?;
        Ok(qemu)
    }

    /// A relay from one socket to another one, and where it listens.
    pub(crate) fn relay(&self, from: &str, to: &str, args: &[&str]) -> Result<(Running, String)> {
        let all = ["relay", "--json", "--quiet", "--listen", from, "--to", to];
        let mut relay = self.lab.multifd().start(all.iter().chain(args))?;
        let uri = relay.wait_address()?;
        Ok((relay, uri))
    }

    /// The guest goes on at the destination, with all its memory.
    pub(crate) fn assert_moved(&self, source: &mut Qemu, destination: &mut Qemu) -> Result<()> {
        source.wait_status(&["completed"], LIMIT)?;
        destination.wait_status(&["completed"], LIMIT)?;
        let before = source.passes()?;
        steps::check_guest_goes_on(&before, destination, &self.counter)?;
        Ok(())
    }
}

/// Starts a migration that never ends, and waits until pages flow.
pub(crate) fn migrate_for_ever(qemu: &mut Qemu, uri: &str) -> Result<()> {
    qemu.set_parameters(json!({"downtime-limit": 0, "max-bandwidth": 3_000_000}))?;
    migrate(qemu, uri)?;
    let start = Instant::now();
    loop {
        let info = qemu.query_migrate()?;
        let bytes = info.pointer("/ram/multifd-bytes").and_then(Value::as_u64);
        if bytes > Some(1_000_000) {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "no pages flow: {info}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a migration that ends as soon as it can.
pub(crate) fn migrate_fast(qemu: &mut Qemu, uri: &str) -> Result<()> {
    qemu.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 0}))?;
    migrate(qemu, uri)
}

/// A QEMU whose migration has failed wants to be done with it before the next one.
fn migrate(qemu: &mut Qemu, uri: &str) -> Result<()> {
    let start = Instant::now();
    let migrations = |instances: Value| {
        let list = instances.as_array().cloned().unwrap_or_default();
        let of = |instance: &Value| instance.get("type").cloned() == Some("migration".into());
        list.iter().filter(|instance| of(instance)).count()
    };
    while migrations(qemu.execute("query-yank", json!({}))?) > 0 {
        ensure!(start.elapsed() < LIMIT, "the migration that failed stays");
        std::thread::sleep(Duration::from_millis(5));
    }
    qemu.migrate(uri)
}

/// The migration has failed, and the guest counts on.
pub(crate) fn assert_runs_on(source: &mut Qemu, status: &str) -> Result<()> {
    source.wait_status(&[status], LIMIT)?;
    let start = Instant::now();
    while source.run_state()? != "running" {
        ensure!(start.elapsed() < LIMIT, "the guest does not run");
        std::thread::sleep(Duration::from_millis(5));
    }
    let passes = source.passes()?.count;
    source.wait_passes(passes + 2)?;
    Ok(())
}

const MACHINE: &str = "pc";
