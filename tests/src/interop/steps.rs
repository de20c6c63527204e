// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What cases have in common.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Age, Lab};
use crate::command::Running;
use crate::guest::{self, Counter, Snapshot};
use crate::peer::{Passes, Qemu};

/// One side's settings, by QEMU's names; both sides of a connection have the same.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// `multifd-compression`.
    pub method: &'static str,
    /// `multifd-channels`.
    pub channels: u8,
    /// `zero-page-detection`. A QEMU before 9.0 has only `legacy`, and no such parameter.
    pub zero_pages: &'static str,
    /// `return-path`.
    pub return_path: bool,
}

impl Link {
    /// QEMU's defaults, with a return path.
    pub const PLAIN: Self = Self {
        method: "none",
        channels: 2,
        zero_pages: "multifd",
        return_path: true,
    };

    /// Sets up a QEMU as one side.
    ///
    /// # Errors
    /// QEMU's.
    pub fn prepare(self, qemu: &mut Qemu, age: Age) -> Result<()> {
        qemu.set_capabilities(&[("multifd", true), ("return-path", self.return_path)])?;
        let mut parameters = json!({
            "multifd-channels": self.channels,
            "multifd-compression": self.method,
        });
        if age != Age::Old
            && let Some(parameters) = parameters.as_object_mut()
        {
            parameters.insert("zero-page-detection".into(), self.zero_pages.into());
        }
        qemu.set_parameters(parameters)
    }

    /// Sets up the command as one side. `--json` is among the arguments.
    #[must_use]
    pub fn args(self) -> Vec<String> {
        let on = if self.return_path { "on" } else { "off" };
        let sets = [
            format!("multifd-channels={}", self.channels),
            format!("multifd-compression={}", self.method),
            format!("zero-page-detection={}", self.zero_pages),
            format!("return-path={on}"),
        ];
        let sets = sets.into_iter().flat_map(|set| ["--set".to_owned(), set]);
        ["--json".to_owned(), "--quiet".to_owned()]
            .into_iter()
            .chain(sets)
            .collect()
    }

    /// The settings in the words of the table, but method and channels.
    #[must_use]
    pub fn mode(self) -> String {
        let zero_pages = match self.zero_pages {
            "multifd" => String::new(),
            other => format!(", zero pages {other}"),
        };
        let return_path = if self.return_path {
            ""
        } else {
            ", no return path"
        };
        format!("{}{return_path}", zero_pages.trim_start_matches(", "))
            .trim_start_matches(", ")
            .to_owned()
    }
}

/// Has a QEMU send its running guest to `uri`. It goes through some rounds before it may stop.
///
/// # Errors
/// QEMU's; the guest is not sent again and again.
pub fn migrate_live(qemu: &mut Qemu, uri: &str) -> Result<()> {
    migrate_live_with(qemu, json!({"uri": uri}))
}

/// As [`migrate_live`], with these arguments of QMP's `migrate`.
///
/// # Errors
/// As there.
pub fn migrate_live_with(qemu: &mut Qemu, arguments: Value) -> Result<()> {
    // With no down time allowed it ends only if the guest has not written anything for a whole round.
    qemu.set_parameters(json!({"downtime-limit": 0, "max-bandwidth": 32 << 20}))?;
    qemu.execute("migrate", arguments)?;
    wait_rounds(qemu, 3)?;
    qemu.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 0}))
}

/// Starts a migration after one that has failed, once QEMU has put that one's connections away: until then
/// it takes no other.
///
/// # Errors
/// QEMU's.
pub fn migrate_again(qemu: &mut Qemu, uri: &str) -> Result<()> {
    let start = std::time::Instant::now();
    loop {
        let open = qemu.execute("query-yank", json!({}))?;
        let open = open.as_array().context("query-yank")?;
        let is_migration = |instance: &Value| instance.get("type") == Some(&json!("migration"));
        if !open.iter().any(is_migration) {
            return qemu.migrate(uri);
        }
        ensure!(
            start.elapsed() < LIMIT,
            "the connections are still there: {open:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the migration has fetched the dirty memory so often, or the guest is stopped: one that gets no
/// processor for a while has nothing to send.
///
/// # Errors
/// It fails before.
pub fn wait_rounds(qemu: &mut Qemu, rounds: u64) -> Result<()> {
    let start = std::time::Instant::now();
    loop {
        let info = qemu.query_migrate()?;
        let count = info
            .pointer("/ram/dirty-sync-count")
            .and_then(Value::as_u64);
        let status = info.get("status").and_then(Value::as_str).unwrap_or("none");
        if count.unwrap_or(0) >= rounds || matches!(status, "device" | "completed") {
            return Ok(());
        }
        let goes_on = matches!(status, "none" | "setup" | "active");
        ensure!(
            goes_on && start.elapsed() < LIMIT,
            "no round {rounds}: {info}; {}",
            qemu.stderr()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that the guest goes on at `destination` as if nothing had been: it counts on where it was, and all
/// its memory is whole. Answers what its memory says.
///
/// # Errors
/// It does not.
pub fn check_guest_goes_on(
    before: &Passes,
    destination: &mut Qemu,
    counter: &Counter,
) -> Result<Snapshot> {
    let after = destination.wait_passes(2)?;
    before.go_on_with(&after)?;
    destination.pause()?;
    let done = u32::try_from(before.count + destination.passes()?.count)?;
    let snapshot = guest::check(&destination.physical_memory(counter.range())?)?;
    ensure!(
        // The letter of a pass comes a moment after its last page.
        [done, done + 1].contains(&snapshot.pass),
        "after {done} passes the memory is that of pass {}",
        snapshot.pass
    );
    Ok(snapshot)
}

/// The URI of a unix socket in a folder.
#[must_use]
pub fn socket(folder: &Path, name: &str) -> String {
    format!("unix:{}", folder.join(name).display())
}

/// Starts a relay with `--json` from and to these addresses, and answers where it listens. The links are those of
/// the source's side and of the destination's.
///
/// # Errors
/// It does not start.
pub fn start_relay(
    lab: &Lab,
    (listen, to): (&str, &str),
    (incoming, outgoing): (Link, Link),
    more: &[&str],
) -> Result<(Running, String)> {
    let mut args = ["relay", "--json", "--quiet", "--listen", listen, "--to", to]
        .map(String::from)
        .to_vec();
    for (option, link) in [("--in", incoming), ("--out", outgoing)] {
        for set in [
            format!("multifd-compression={}", link.method),
            format!("multifd-channels={}", link.channels),
        ] {
            args.extend([option.into(), set]);
        }
    }
    args.extend(more.iter().copied().map(String::from));
    let mut relay = lab.multifd().start(args)?;
    let uri = relay.wait_address()?;
    Ok((relay, uri))
}

/// Starts a guest that counts, and waits until it has filled its memory.
///
/// # Errors
/// It does not start.
pub fn start_guest(
    lab: &Lab,
    age: Age,
    machine: &str,
    counter: &Counter,
    uuid: Option<&str>,
) -> Result<Qemu> {
    let mut qemu = describe(lab, age, machine, counter, uuid).start()?;
    qemu.wait_passes(2)
        .with_context(|| format!("the guest at the source, {machine}"))?;
    Ok(qemu)
}

/// A machine with the guest's hardware that waits for it.
///
/// # Errors
/// It does not start.
pub fn start_destination(
    lab: &Lab,
    age: Age,
    machine: &str,
    counter: &Counter,
    uuid: Option<&str>,
) -> Result<Qemu> {
    describe(lab, age, machine, counter, uuid)
        .incoming_defer()
        .start()
}

fn describe(
    lab: &Lab,
    age: Age,
    machine: &str,
    counter: &Counter,
    uuid: Option<&str>,
) -> crate::peer::Builder {
    let machine = lab
        .qemu(age)
        .machine()
        .machine_type(machine)
        .boot(counter)
        .running();
    match uuid {
        Some(uuid) => machine.uuid(uuid),
        None => machine,
    }
}

/// More than anything takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);
