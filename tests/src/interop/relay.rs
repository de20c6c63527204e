// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whole machines through `relay`: one guest's way from a QEMU to a QEMU.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::steps::{self, LIMIT, Link};
use super::{Age, Case, Lab, Peers, Row};
use crate::command::Running;
use crate::guest::Counter;
use crate::peer::Qemu;

/// A covering set: each machine, method, mode and number of channels at least once.
pub(super) fn cases() -> Vec<Case> {
    let cases = [
        Settings::new("pc", &[("none", 2), ("none", 2)]),
        Settings::new("q35", &[("none", 2), ("zstd", 4), ("none", 3)]),
        Settings::new("q35", &[("none", 4), ("qatzip", 2), ("none", 2)]).uuid(),
        Settings::new("pc", &[("zlib", 1), ("zstd", 16)]),
        Settings::new("pc", &[("zstd", 255), ("none", 255)]),
        Settings::new("q35", &[("none", 2), ("zlib", 2)]).zero_pages("none"),
        Settings::new("pc", &[("none", 2), ("uadk", 2), ("none", 2)]).zero_pages("legacy"),
        Settings::new("q35", &[("none", 2), ("qpl", 3), ("zstd", 2)]).no_return_path(),
        Settings::new("pc-q35-8.2", &[("none", 2), ("zstd", 2)]),
        Settings::new("isapc", &[("none", 2), ("zstd", 2), ("none", 2)]),
        Settings::new("microvm", &[("none", 2), ("none", 4)]),
        Settings::new("pc-i440fx-7.2", &[("none", 2), ("zstd", 2)]),
        Settings::new("pc-i440fx-7.2", &[("none", 2), ("zstd", 4), ("none", 2)])
            .ages(Age::Old, Age::Current),
        Settings::new("pc-i440fx-7.2", &[("none", 2), ("zstd", 4), ("none", 2)])
            .ages(Age::Current, Age::Old),
        Settings::new("pc-q35-7.2", &[("zstd", 2), ("zlib", 3)])
            .ages(Age::Current, Age::Old)
            .zero_pages("multifd"),
        Settings::new("pc-q35-7.2", &[("none", 2), ("zstd", 2)]).ages(Age::Old, Age::Old),
        Settings::new("pc-q35-10.0", &[("none", 2), ("zstd", 3), ("none", 2)])
            .newer(Age::Current, Age::New),
        Settings::new("pc-q35-10.0", &[("zstd", 2), ("none", 2)]).newer(Age::New, Age::Current),
        Settings::new("q35", &[("none", 2), ("zstd", 3)])
            .newer(Age::New, Age::New)
            .on("postcopy-ram"),
        Settings::new("q35", &[("none", 2), ("none", 2)]).on("switchover-ack"),
        Settings::new("q35", &[("none", 2), ("none", 2)])
            .newer(Age::New, Age::New)
            .on("switchover-ack"),
    ];
    let cases = cases.into_iter();
    cases
        .map(|case| Case::new("relay", case.row(), move |lab| case.run(lab)))
        .collect()
}

/// One guest's way through one relay or more.
#[derive(Clone, Debug)]
struct Settings {
    machine: &'static str,
    from: Age,
    to: Age,
    /// From the source to the first relay, and so on: method and number of channels.
    hops: Vec<(&'static str, u8)>,
    zero_pages: &'static str,
    return_path: bool,
    uuid: Option<&'static str>,
    /// A capability that is on at both ends besides those of multifd.
    on: Option<&'static str>,
}

impl Settings {
    fn new(machine: &'static str, hops: &[(&'static str, u8)]) -> Self {
        Self {
            machine,
            from: Age::Current,
            to: Age::Current,
            hops: hops.to_vec(),
            zero_pages: "multifd",
            return_path: true,
            uuid: None,
            on: None,
        }
    }

    fn zero_pages(mut self, way: &'static str) -> Self {
        self.zero_pages = way;
        self
    }

    fn no_return_path(mut self) -> Self {
        self.return_path = false;
        self
    }

    fn ages(mut self, from: Age, to: Age) -> Self {
        (self.from, self.to) = (from, to);
        self.zero_pages("legacy")
    }

    /// Without what a QEMU from before 9.0 needs.
    fn newer(mut self, from: Age, to: Age) -> Self {
        (self.from, self.to) = (from, to);
        self
    }

    fn on(mut self, capability: &'static str) -> Self {
        self.on = Some(capability);
        self
    }

    fn uuid(mut self) -> Self {
        self.uuid = Some("12345678-9abc-def0-1234-56789abcdef0");
        self
    }

    fn row(&self) -> Row {
        let mut mode = vec!["live".to_owned()];
        if self.machine.ends_with("-7.2") {
            mode.push("barriers per section".into());
        }
        if !self.return_path {
            mode.push("no return path".into());
        }
        if self.zero_pages != "multifd" || self.to == Age::Old {
            mode.push(format!("zero pages {}", self.zero_pages));
        }
        mode.extend(self.uuid.map(|_| "UUID".into()));
        mode.extend(self.on.map(|name| format!("`{name}` on")));
        let list = |text: &dyn Fn(&(&'static str, u8)) -> String| {
            let texts: Vec<_> = self.hops.iter().map(text).collect();
            texts.join(", ")
        };
        Row {
            peers: Peers::Between(self.from, self.to),
            role: match self.hops.len() {
                2 => "relay",
                _ => "relay, relay",
            },
            machine: self.machine.into(),
            method: list(&|(method, _)| (*method).into()),
            mode: mode.join(", "),
            channels: list(&|(_, channels)| channels.to_string()),
        }
    }

    fn link(&self, hop: usize) -> Result<Link> {
        let (method, channels) = *self.hops.get(hop).context("no such hop")?;
        Ok(Link {
            method,
            channels,
            zero_pages: self.zero_pages,
            return_path: self.return_path,
        })
    }

    fn run(&self, lab: &Lab) -> Result<Vec<&'static str>> {
        let counter = Counter::assemble(MEMORY)?;
        let mut source = steps::start_guest(lab, self.from, self.machine, &counter, self.uuid)?;
        let mut destination =
            steps::start_destination(lab, self.to, self.machine, &counter, self.uuid)?;
        self.link(0)?.prepare(&mut source, self.from)?;
        self.link(self.hops.len() - 1)?
            .prepare(&mut destination, self.to)?;
        if let Some(name) = self.on {
            source.set_capabilities(&[(name, true)])?;
            destination.set_capabilities(&[(name, true)])?;
        }
        let mut uri = steps::socket(destination.folder(), "migration");
        destination.migrate_incoming(&uri)?;
        let mut relays = Vec::new();
        for hop in (1..self.hops.len()).rev() {
            let listen = match hop {
                1 => steps::socket(source.folder(), "relay"),
                _ => "tcp:127.0.0.1:0".into(),
            };
            let links = (self.link(hop - 1)?, self.link(hop)?);
            let relay = steps::start_relay(lab, (&listen, &uri), links, &self.more(hop))?;
            relays.insert(0, relay.0);
            uri = relay.1;
        }
        steps::migrate_live(&mut source, &uri)?;
        self.finish(source, destination, relays, &counter)
    }

    /// What a relay before a hop is told besides its links.
    fn more(&self, hop: usize) -> Vec<&'static str> {
        let mut more = Vec::new();
        if hop + 1 == self.hops.len() && self.to == Age::Old {
            more.extend(["--out", "zero-page-detection=none"]);
        }
        more.extend(self.uuid.iter().flat_map(|uuid| ["--uuid", *uuid]));
        more
    }

    fn finish(
        &self,
        mut source: Qemu,
        mut destination: Qemu,
        relays: Vec<Running>,
        counter: &Counter,
    ) -> Result<Vec<&'static str>> {
        source.wait_status(&["completed"], LIMIT)?;
        for (hop, relay) in (1..).zip(relays) {
            let report = relay.finish()?.json(0)?;
            self.check_report(hop, &report)
                .with_context(|| format!("{report:#}"))?;
        }
        destination.wait_status(&["completed"], LIMIT)?;
        let before = source.passes()?;
        steps::check_guest_goes_on(&before, &mut destination, counter)?;
        let mut verified = vec![
            "every word of the guest that went on",
            "no pass lost or done twice",
        ];
        match self.zero_pages {
            "none" => verified.push("zero pages found on the way"),
            "multifd" if self.to == Age::Old => {
                verified.push("zero pages sent with their content");
            }
            _ => {}
        }
        Ok(verified)
    }

    /// A relay did what it was told on both of its sides.
    fn check_report(&self, hop: usize, report: &Value) -> Result<()> {
        let number = |path: &str| report.pointer(path).and_then(Value::as_u64);
        for (side, hop) in [("in", hop - 1), ("out", hop)] {
            let link = self.link(hop)?;
            let method = report.pointer(&format!("/{side}/multifd-compression"));
            ensure!(method.and_then(Value::as_str) == Some(link.method));
            let channels = number(&format!("/{side}/multifd-channels"));
            ensure!(channels == Some(link.channels.into()));
        }
        let confirmed = report.get("confirmed").and_then(Value::as_bool);
        ensure!(confirmed == Some(self.return_path));
        let (found, passed) = (number("/in/duplicate"), number("/out/duplicate"));
        let to_old = hop + 1 == self.hops.len() && self.to == Age::Old;
        match self.zero_pages {
            // Found on the way, by the first relay.
            "none" if hop == 1 => ensure!(found == Some(0) && passed > Some(0)),
            // Sent with their content to a destination that knows none in packets.
            "multifd" if to_old => ensure!(found > Some(0) && passed == Some(0)),
            _ if to_old => ensure!(found > Some(0) && passed <= found),
            _ => ensure!(found > Some(0) && passed >= found),
        }
        Ok(())
    }
}

const MEMORY: u64 = 8 << 20;
