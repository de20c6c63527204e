// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whole machines through a relay into a folder, and through another one out of it: on one side of each relay is a
//! QEMU, on the other this project.

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::steps::{self, LIMIT, Link};
use super::{Age, Case, Peers, Row};
use crate::guest::Counter;

pub(super) fn cases() -> Vec<Case> {
    let cases = [("pc", true), ("q35", false), ("pc-i440fx-7.2", true)];
    let cases = cases.into_iter();
    cases
        .map(|(machine, return_path)| {
            let row = row(machine, return_path);
            Case::new("relay", row, move |lab| run(lab, machine, return_path))
        })
        .collect()
}

fn row(machine: &str, return_path: bool) -> Row {
    let mut mode = vec!["live"];
    if machine.ends_with("-7.2") {
        mode.push("barriers per section");
    }
    if !return_path {
        mode.push("no return path");
    }
    Row {
        peers: Peers::Between(Age::Current, Age::Current),
        role: "relay, recv --save, send --load, relay",
        machine: machine.into(),
        method: "none, zstd, zstd, none".into(),
        mode: mode.join(", "),
        channels: "2, 3, 3, 2".into(),
    }
}

fn run(lab: &super::Lab, machine: &str, return_path: bool) -> Result<Vec<&'static str>> {
    let plain = Link {
        return_path,
        ..Link::PLAIN
    };
    let zstd = Link {
        method: "zstd",
        channels: 3,
        ..plain
    };
    let folder = TempDir::with_prefix("multifd-relay-kept-")?;
    let saved = folder.path().join("guest").display().to_string();
    let counter = Counter::assemble(MEMORY)?;
    let mut source = steps::start_guest(lab, Age::Current, machine, &counter, None)?;
    plain.prepare(&mut source, Age::Current)?;
    let recv = ["recv", "--from", "tcp:127.0.0.1:0", "--save", &saved];
    let recv = recv.map(String::from).into_iter().chain(zstd.args());
    let mut receiving = lab.multifd().start(recv)?;
    let to = receiving.wait_address()?;
    let listen = steps::socket(folder.path(), "relay");
    let (relay, uri) = steps::start_relay(lab, (&listen, &to), (plain, zstd), &[])?;
    steps::migrate_live(&mut source, &uri)?;
    relay.finish()?.json(0).context("relay to recv --save")?;
    receiving.finish()?.json(0)?;
    source.wait_status(&["completed"], LIMIT)?;
    let before = source.passes()?;
    drop(source);

    let mut destination = steps::start_destination(lab, Age::Current, machine, &counter, None)?;
    plain.prepare(&mut destination, Age::Current)?;
    let to = steps::socket(destination.folder(), "migration");
    destination.migrate_incoming(&to)?;
    let (relay, uri) = steps::start_relay(lab, ("tcp:127.0.0.1:0", &to), (zstd, plain), &[])?;
    let send = ["send", "--to", &uri, "--load", &saved];
    let send = send.map(String::from).into_iter().chain(zstd.args());
    lab.multifd().start(send)?.finish()?.json(0)?;
    relay.finish()?.json(0).context("send --load to relay")?;
    destination.wait_status(&["completed"], LIMIT)?;
    steps::check_guest_goes_on(&before, &mut destination, &counter)?;
    Ok(vec![
        "every word of the guest that went on",
        "no pass lost or done twice",
    ])
}

const MEMORY: u64 = 8 << 20;
