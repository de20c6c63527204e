// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whole machines over TCP, set up as in QEMU's own tests of multifd.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::steps::{self, LIMIT, Link};
use super::{Age, Case, Lab, Peers, Row};
use crate::guest::Counter;
use crate::peer::Qemu;

pub(super) fn cases() -> Vec<Case> {
    let plain = Settings {
        link: Link {
            channels: 4,
            ..Link::PLAIN
        },
        level: None,
        live: true,
        address: Address::Uri,
    };
    let zero_pages = |zero_pages| Settings {
        link: Link {
            zero_pages,
            ..plain.link
        },
        ..plain
    };
    let stopped = |method, level| Settings {
        link: Link {
            method,
            ..plain.link
        },
        level: Some((level, 2)),
        live: false,
        ..plain
    };
    let list = Settings {
        address: Address::Channels,
        ..plain
    };
    let cases = [
        plain,
        list,
        zero_pages("legacy"),
        zero_pages("none"),
        stopped("zlib", "multifd-zlib-level"),
        stopped("zstd", "multifd-zstd-level"),
    ];
    let cases = cases.into_iter();
    cases
        .map(|case| Case::new("tcp", case.row(), move |lab| case.run(lab)))
        .collect()
}

/// One guest's way into a folder and out again.
#[derive(Clone, Copy, Debug)]
struct Settings {
    /// Both ways.
    link: Link,
    /// The parameter of the method, and its value.
    level: Option<(&'static str, u8)>,
    live: bool,
    address: Address,
}

/// How a QEMU is told where to migrate to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// `uri` of `migrate`.
    Uri,
    /// `channels` of `migrate`.
    Channels,
}

impl Settings {
    fn row(&self) -> Row {
        let mut mode = vec![if self.live { "live" } else { "stopped" }.to_owned()];
        mode.push("TCP".into());
        if self.address == Address::Channels {
            mode.push("a list of channels".into());
        }
        if self.link.zero_pages != "multifd" {
            mode.push(format!("zero pages {}", self.link.zero_pages));
        }
        mode.extend(self.level.map(|(_, level)| format!("level {level}")));
        let Link {
            method, channels, ..
        } = self.link;
        Row {
            peers: Peers::Between(Age::Current, Age::Current),
            role: "recv --save, send --load",
            machine: MACHINE.into(),
            method: format!("{method}, {method}"),
            mode: mode.join(", "),
            channels: format!("{channels}, {channels}"),
        }
    }

    fn run(&self, lab: &Lab) -> Result<Vec<&'static str>> {
        let folder = TempDir::with_prefix("multifd-tcp-")?;
        let saved = folder.path().join("guest").display().to_string();
        let counter = Counter::assemble(MEMORY)?;
        let mut source = steps::start_guest(lab, Age::Current, MACHINE, &counter, None)?;
        self.save(lab, &mut source, &saved).context("recv --save")?;
        let before = source.passes()?;
        drop(source);

        let mut destination = steps::start_destination(lab, Age::Current, MACHINE, &counter, None)?;
        self.load(lab, &mut destination, &saved)
            .context("send --load")?;
        if !self.live {
            destination.cont()?;
        }
        steps::check_guest_goes_on(&before, &mut destination, &counter)?;
        Ok(vec![
            "every word of the guest that went on",
            "no pass lost or done twice",
        ])
    }

    fn save(&self, lab: &Lab, source: &mut Qemu, saved: &str) -> Result<()> {
        self.prepare(source)?;
        let mut args = self.args("recv");
        args.extend(["--from", "tcp:127.0.0.1:0", "--save", saved].map(Into::into));
        let mut receiving = lab.multifd().start(&args)?;
        let uri = receiving.wait_address()?;
        if !self.live {
            source.pause()?;
        }
        match (self.live, self.address) {
            (true, Address::Uri) => steps::migrate_live(source, &uri)?,
            (true, Address::Channels) => {
                let main = json!({"channel-type": "main", "addr": inet(&uri)?});
                steps::migrate_live_with(source, json!({"channels": [main]}))?;
            }
            (false, _) => source.migrate(&uri)?,
        }
        receiving.finish()?.json(0)?;
        source.wait_status(&["completed"], LIMIT)?;
        Ok(())
    }

    fn load(&self, lab: &Lab, destination: &mut Qemu, saved: &str) -> Result<()> {
        self.prepare(destination)?;
        destination.migrate_incoming("tcp:127.0.0.1:0")?;
        let mut args = self.args("send");
        args.extend(["--to".to_owned(), listens_at(destination)?]);
        args.extend(["--load".to_owned(), saved.to_owned()]);
        let sent = lab.multifd().start(&args)?.finish()?;
        sent.json(0).with_context(|| destination.stderr())?;
        destination.wait_status(&["completed"], LIMIT)?;
        Ok(())
    }

    fn prepare(&self, qemu: &mut Qemu) -> Result<()> {
        self.link.prepare(qemu, Age::Current)?;
        match self.level {
            Some((name, level)) => qemu.set_parameters(json!({name: level})),
            None => Ok(()),
        }
    }

    fn args(&self, command: &str) -> Vec<String> {
        let mut args = vec![command.to_owned()];
        args.extend(self.link.args());
        if let Some((name, level)) = self.level {
            args.extend(["--set".into(), format!("{name}={level}")]);
        }
        args
    }
}

/// The address of a URI `tcp:HOST:PORT`, as `migrate` wants it in its list of channels.
fn inet(uri: &str) -> Result<Value> {
    let parts: Vec<_> = uri.split(':').collect();
    let ["tcp", host, port] = parts.as_slice() else {
        anyhow::bail!("{uri} is no address of TCP");
    };
    Ok(json!({"transport": "socket", "type": "inet", "host": host, "port": port}))
}

/// Where a QEMU listens that was told to choose a port.
fn listens_at(qemu: &mut Qemu) -> Result<String> {
    let info = qemu.query_migrate()?;
    let text = |field: &str| {
        let path = format!("/socket-address/0/{field}");
        info.pointer(&path).and_then(Value::as_str)
    };
    let (host, port) = (text("host"), text("port"));
    ensure!(host.is_some() && port.is_some(), "{info}");
    Ok(format!(
        "tcp:{}:{}",
        host.unwrap_or_default(),
        port.unwrap_or_default()
    ))
}

const MACHINE: &str = "q35";
const MEMORY: u64 = 8 << 20;
