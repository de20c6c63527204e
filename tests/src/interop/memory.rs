// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that are memory only: `send --ram` and `recv --ram` with QEMU's machine `none`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::{Age, Case, Lab, Peers, Row};
use crate::peer::Qemu;

/// Both directions with each method that every QEMU has, and what each version is special for.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for age in [Age::Current, Age::Old, Age::New] {
        for (method, channels) in [("none", 2), ("zlib", 4), ("zstd", 16)] {
            let settings = Settings {
                method,
                channels,
                age,
            };
            cases.push(Case::new(
                GROUP,
                settings.row(Peers::From(age), "recv --ram"),
                move |lab| settings.receive(lab),
            ));
            cases.push(Case::new(
                GROUP,
                settings.row(Peers::To(age), "send --ram"),
                move |lab| settings.send(lab),
            ));
        }
    }
    let row = Row {
        peers: Peers::Between(Age::Current, Age::Current),
        role: "recv --save, send --load",
        machine: "none".into(),
        method: "zlib, zstd".into(),
        mode: "stopped".into(),
        channels: "2, 4".into(),
    };
    cases.push(Case::new(GROUP, row, keep));
    cases
}

/// From one QEMU into a folder, and out of it into another one.
fn keep(lab: &Lab) -> Result<Vec<&'static str>> {
    let (folder, content) = (TempDir::new()?, recorded_ram()?);
    let [from, to, saved] = ["from", "to", "saved"].map(|name| folder.path().join(name));
    fs::write(&from, &content)?;
    let socket = |name| format!("unix:{}", folder.path().join(name).display());
    let settings = |method, channels| Settings {
        method,
        channels,
        age: Age::Current,
    };
    let machine = |file| {
        let machine = lab.qemu(Age::Current).machine();
        machine.memory_file(file, content.len() as u64)
    };

    let incoming = settings("zlib", 2);
    let mut qemu = machine(&from).start()?;
    incoming.prepare(&mut qemu)?;
    let mut args = vec!["recv".to_owned(), "--json".into(), "--from".into()];
    args.extend([socket("in"), "--save".into(), saved.display().to_string()]);
    args.extend(incoming.args());
    let mut receiving = lab.multifd().start(&args)?;
    qemu.migrate(&receiving.wait_address()?)?;
    receiving.finish()?.json(0)?;
    qemu.wait_status(&["completed"], LIMIT)?;

    let outgoing = settings("zstd", 4);
    let mut qemu = machine(&to).incoming_defer().start()?;
    outgoing.prepare(&mut qemu)?;
    qemu.migrate_incoming(&socket("out"))?;
    let mut args = vec!["send".to_owned(), "--json".into(), "--to".into()];
    args.extend([socket("out"), "--load".into(), saved.display().to_string()]);
    args.extend(outgoing.args());
    let sent = lab.multifd().start(&args)?.finish()?;
    sent.json(0).with_context(|| qemu.stderr())?;
    qemu.wait_status(&["completed"], LIMIT)?;
    ensure!(fs::read(&to)? == content, "the memories differ");
    Ok(vec!["every byte of memory"])
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    method: &'static str,
    channels: u8,
    age: Age,
}

impl Settings {
    fn row(self, peers: Peers, role: &'static str) -> Row {
        Row {
            peers,
            role,
            machine: "none".into(),
            method: self.method.into(),
            mode: match (self.age, peers) {
                (Age::Old, _) => "stopped, legacy zero pages",
                _ => "stopped",
            }
            .into(),
            channels: self.channels.to_string(),
        }
    }

    /// What the command sets, as QEMU.
    fn args(self) -> Vec<String> {
        let mut sets = vec![
            format!("multifd-channels={}", self.channels),
            format!("multifd-compression={}", self.method),
        ];
        if self.age == Age::Old {
            sets.push("zero-page-detection=legacy".into());
        }
        sets.into_iter()
            .flat_map(|set| ["--set".into(), set])
            .collect()
    }

    fn prepare(self, qemu: &mut Qemu) -> Result<()> {
        qemu.set_capabilities(&[("multifd", true), ("return-path", true)])?;
        qemu.set_parameters(json!({
            "multifd-channels": self.channels,
            "multifd-compression": self.method,
        }))
    }

    fn receive(self, lab: &Lab) -> Result<Vec<&'static str>> {
        let (folder, content) = (TempDir::new()?, recorded_ram()?);
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
        fs::write(&theirs, &content)?;
        let from = format!("unix:{}", folder.path().join("socket").display());

        let machine = lab.qemu(self.age).machine();
        let mut qemu = machine.memory_file(&theirs, content.len() as u64).start()?;
        self.prepare(&mut qemu)?;
        let mut args = vec!["recv".to_owned(), "--json".into(), "--from".into(), from];
        args.extend(["--ram".into(), ours.display().to_string()]);
        args.extend(self.args());
        let mut receiving = lab.multifd().start(&args)?;
        qemu.migrate(&receiving.wait_address()?)?;
        receiving.finish()?.json(0)?;
        qemu.wait_status(&["completed"], LIMIT)?;
        ensure!(fs::read(&ours)? == content, "the memories differ");
        Ok(vec!["every byte of memory"])
    }

    fn send(self, lab: &Lab) -> Result<Vec<&'static str>> {
        let (folder, content) = (TempDir::new()?, recorded_ram()?);
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
        fs::write(&ours, &content)?;
        let uri = format!("unix:{}", folder.path().join("socket").display());

        let machine = lab.qemu(self.age).machine();
        let machine = machine.memory_file(&theirs, content.len() as u64);
        let mut qemu = machine.incoming_defer().start()?;
        self.prepare(&mut qemu)?;
        qemu.migrate_incoming(&uri)?;
        let mut args = vec!["send".to_owned(), "--json".into(), "--to".into(), uri];
        args.extend(["--ram".into(), ours.display().to_string()]);
        args.extend(self.args());
        if self.age == Age::Old {
            args.extend(["--sync".into(), "per-section".into()]);
        }
        let sent = lab.multifd().start(&args)?.finish()?;
        sent.json(0).with_context(|| qemu.stderr())?;
        qemu.wait_status(&["completed"], LIMIT)?;
        ensure!(fs::read(&theirs)? == content, "the memories differ");
        Ok(vec!["every byte of memory"])
    }
}

fn recorded_ram() -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/ram.bin");
    fs::read(&path).with_context(|| path.display().to_string())
}

const GROUP: &str = "memory";
const LIMIT: Duration = Duration::from_secs(60);
