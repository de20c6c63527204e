// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that counts, the folder that it is kept in, and what all of these cases are set to.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::steps::{self, LIMIT, Link};
use super::super::{Age, Lab, Peers, Row};
use crate::command::Running;
use crate::guest::Counter;
use crate::peer::Qemu;

/// A guest and the folder that it is to be kept in.
pub(super) struct Bench {
    folder: TempDir,
    pub(super) counter: Counter,
    age: Age,
    link: Link,
    over_tcp: bool,
}

impl Bench {
    pub(super) fn new(age: Age) -> Result<Self> {
        Self::with(age, Link::PLAIN, false)
    }

    /// The command listens on TCP.
    pub(super) fn over_tcp(link: Link) -> Result<Self> {
        Self::with(Age::Current, link, true)
    }

    fn with(age: Age, link: Link, over_tcp: bool) -> Result<Self> {
        let bench = Self {
            folder: TempDir::with_prefix("multifd-failures-")?,
            counter: Counter::assemble(MEMORY)?,
            age,
            link,
            over_tcp,
        };
        fs::create_dir(bench.folder())?;
        Ok(bench)
    }

    /// A folder for the kept guest alone: it may be a disk of its own.
    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(super) fn saved(&self) -> PathBuf {
        self.folder().join("guest")
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.folder().join("guest.partial")
    }

    pub(super) fn source(&self, lab: &Lab) -> Result<Qemu> {
        let mut qemu = steps::start_guest(lab, self.age, MACHINE, &self.counter, None)?;
        self.link.prepare(&mut qemu, self.age)?;
        Ok(qemu)
    }

    pub(super) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let from = match self.over_tcp {
            true => "tcp:127.0.0.1:0".to_owned(),
            false => format!("unix:{}", self.own_socket().display()),
        };
        let mut args = vec!["recv".to_owned(), "--from".into(), from];
        args.extend(["--save".into(), self.saved().display().to_string()]);
        args.extend(self.link.args());
        args.extend(more.iter().map(ToString::to_string));
        args
    }

    pub(super) fn receive(&self, lab: &Lab, more: &[&str]) -> Result<Running> {
        lab.multifd().start(self.arguments(more))
    }

    /// A migration that succeeds.
    pub(super) fn save(&self, lab: &Lab, source: &mut Qemu) -> Result<()> {
        let mut receiving = self.receive(lab, &[])?;
        let uri = receiving.wait_address()?;
        source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 0}))?;
        steps::migrate_again(source, &uri)?;
        receiving.finish()?.json(0)?;
        source.wait_status(&["completed"], LIMIT)?;
        self.inspect(lab)
    }

    /// What was kept is whole.
    pub(super) fn inspect(&self, lab: &Lab) -> Result<()> {
        let inspecting = lab.multifd().start([Path::new("inspect"), &self.saved()])?;
        ensure!(
            inspecting.finish()?.code == Some(0),
            "what was kept is not in order"
        );
        Ok(())
    }

    /// What the command is told to send what was kept.
    pub(super) fn send_arguments(&self, uri: &str, more: &[&str]) -> Vec<String> {
        let mut args = vec!["send".to_owned(), "--to".into(), uri.to_owned()];
        args.extend(["--load".into(), self.saved().display().to_string()]);
        args.extend(Link::PLAIN.args());
        args.extend(more.iter().map(ToString::to_string));
        args
    }

    /// Where the command listens.
    pub(super) fn own_socket(&self) -> PathBuf {
        self.folder.path().join("command")
    }

    /// Where somebody else listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

/// Waits until some of the memory is on its way.
pub(super) fn wait_for_pages(source: &mut Qemu) -> Result<()> {
    let start = Instant::now();
    loop {
        let info = source.query_migrate()?;
        let bytes = info.pointer("/ram/multifd-bytes").and_then(Value::as_u64);
        if bytes > Some(1 << 20) {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "no pages: {info}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The guest is not paused, and gets on.
pub(super) fn runs_on(source: &mut Qemu) -> Result<()> {
    let state = source.run_state()?;
    ensure!(state == "running", "the guest is {state}");
    let passes = source.passes()?.count;
    source.wait_passes(passes + 2)?;
    Ok(())
}

/// A case with a QEMU of today.
pub(super) fn row(mode: &str, peers: Peers, role: &'static str) -> Row {
    Row {
        peers,
        role,
        machine: MACHINE.into(),
        method: "none".into(),
        mode: mode.to_owned(),
        channels: "2".into(),
    }
}

pub(super) const FROM: Peers = Peers::From(Age::Current);
pub(super) const TO: Peers = Peers::To(Age::Current);
pub(super) const MACHINE: &str = "pc";
pub(super) const MEMORY: u64 = 8 << 20;
