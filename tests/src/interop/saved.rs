// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whole machines: `recv --save` keeps one, `send --load` starts it again.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::steps::{self, LIMIT, Link};
use super::{Age, Case, Lab, Peers, Row};
use crate::guest::{self, Counter};
use crate::peer::Qemu;

/// A covering set: each machine, method, mode and number of channels at least once on each side.
pub(super) fn cases() -> Vec<Case> {
    let cases = [
        Settings::new("pc", "none", "none").channels(2, 2),
        Settings::new("pc", "zlib", "zstd")
            .channels(1, 16)
            .zero_pages("none"),
        Settings::new("pc", "zstd", "none").channels(255, 255),
        Settings::new("q35", "zstd", "zlib")
            .channels(4, 1)
            .no_return_path(true, false),
        Settings::new("q35", "none", "zstd")
            .channels(16, 4)
            .no_return_path(false, true),
        Settings::new("q35", "zlib", "none")
            .channels(2, 2)
            .zero_pages("legacy")
            .uuid(),
        Settings::new("q35", "none", "none")
            .channels(2, 2)
            .stopped(),
        Settings::new("pc-q35-8.2", "zstd", "zstd").channels(2, 4),
        Settings::new("pc-i440fx-7.2", "none", "zstd").channels(4, 2),
        Settings::new("pc-i440fx-7.2", "zlib", "none")
            .channels(2, 16)
            .no_return_path(true, true),
        Settings::new("isapc", "zstd", "none").channels(2, 2),
        Settings::new("microvm", "none", "zlib").channels(2, 2),
        Settings::new("pc-i440fx-7.2", "none", "none")
            .channels(2, 2)
            .ages(Age::Old, Age::Old),
        Settings::new("pc-i440fx-7.2", "zlib", "zstd")
            .channels(4, 2)
            .ages(Age::Old, Age::Current),
        Settings::new("pc-i440fx-7.2", "zstd", "zlib")
            .channels(2, 4)
            .ages(Age::Current, Age::Old),
        Settings::new("pc-q35-7.2", "zstd", "zstd")
            .channels(16, 16)
            .ages(Age::Old, Age::Old),
        Settings::new("pc-q35-10.0", "none", "zstd")
            .channels(2, 3)
            .newer(Age::New, Age::Current),
        Settings::new("pc-q35-10.0", "zstd", "none")
            .channels(3, 2)
            .newer(Age::Current, Age::New),
        Settings::new("q35", "none", "none")
            .channels(2, 2)
            .newer(Age::New, Age::New)
            .on("postcopy-ram"),
        Settings::new("q35", "none", "none")
            .channels(2, 2)
            .on("switchover-ack"),
        Settings::new("q35", "none", "none")
            .channels(2, 2)
            .newer(Age::New, Age::New)
            .on("switchover-ack"),
        Settings::new("pc-q35-10.0", "none", "none")
            .channels(2, 2)
            .newer(Age::New, Age::New)
            .on("switchover-ack"),
    ];
    let cases = cases.into_iter();
    cases
        .map(|case| Case::new("saved", case.row(), move |lab| case.run(lab)))
        .collect()
}

/// One guest's way into a folder and out again.
#[derive(Clone, Debug)]
struct Settings {
    machine: &'static str,
    from: Age,
    to: Age,
    incoming: Link,
    outgoing: Link,
    uuid: Option<&'static str>,
    live: bool,
    /// A capability that is on at the source besides those of multifd.
    on: Option<&'static str>,
}

impl Settings {
    fn new(machine: &'static str, incoming: &'static str, outgoing: &'static str) -> Self {
        let link = |method| Link {
            method,
            ..Link::PLAIN
        };
        Self {
            machine,
            from: Age::Current,
            to: Age::Current,
            incoming: link(incoming),
            outgoing: link(outgoing),
            uuid: None,
            live: true,
            on: None,
        }
    }

    fn channels(mut self, incoming: u8, outgoing: u8) -> Self {
        (self.incoming.channels, self.outgoing.channels) = (incoming, outgoing);
        self
    }

    fn zero_pages(mut self, way: &'static str) -> Self {
        (self.incoming.zero_pages, self.outgoing.zero_pages) = (way, way);
        self
    }

    fn no_return_path(mut self, incoming: bool, outgoing: bool) -> Self {
        (self.incoming.return_path, self.outgoing.return_path) = (!incoming, !outgoing);
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
        self.uuid = Some(UUID);
        self
    }

    fn stopped(mut self) -> Self {
        self.live = false;
        self
    }

    fn row(&self) -> Row {
        let mut mode = vec![if self.live { "live" } else { "stopped" }.to_owned()];
        if self.is_per_section() {
            mode.push("barriers per section".into());
        }
        mode.push(
            match (self.incoming.return_path, self.outgoing.return_path) {
                (true, true) => String::new(),
                (false, true) => "no return path in".into(),
                (true, false) => "no return path out".into(),
                (false, false) => "no return path".into(),
            },
        );
        if self.incoming.zero_pages != "multifd" {
            mode.push(format!("zero pages {}", self.incoming.zero_pages));
        }
        mode.extend(self.uuid.map(|_| "UUID, `validate-uuid`".into()));
        mode.extend(self.on.map(|name| format!("`{name}` on")));
        mode.retain(|part| !part.is_empty());
        Row {
            peers: Peers::Between(self.from, self.to),
            role: "recv --save, send --load",
            machine: self.machine.into(),
            method: format!("{}, {}", self.incoming.method, self.outgoing.method),
            mode: mode.join(", "),
            channels: format!("{}, {}", self.incoming.channels, self.outgoing.channels),
        }
    }

    fn is_per_section(&self) -> bool {
        self.machine.ends_with("-7.2")
    }

    fn run(&self, lab: &Lab) -> Result<Vec<&'static str>> {
        let folder = TempDir::with_prefix("multifd-saved-")?;
        let saved = folder.path().join("guest");
        let counter = Counter::assemble(MEMORY)?;
        let mut source = steps::start_guest(lab, self.from, self.machine, &counter, self.uuid)?;
        self.save(lab, &mut source, &saved).context("recv --save")?;
        let before = source.passes()?;
        self.check_saved(&mut source, &saved, &counter)
            .context("what was kept")?;
        self.inspect(lab, &saved).context("inspect")?;
        drop(source);

        let mut destination =
            steps::start_destination(lab, self.to, self.machine, &counter, self.uuid)?;
        self.load(lab, &mut destination, &saved)
            .context("send --load")?;
        if !self.live {
            ensure!(
                destination.run_state()? == "paused",
                "a guest that was paused runs"
            );
            destination.cont()?;
        }
        steps::check_guest_goes_on(&before, &mut destination, &counter).context("send --load")?;
        Ok(vec![
            "every word that was kept",
            "every word of the guest that went on",
            "no pass lost or done twice",
        ])
    }

    fn save(&self, lab: &Lab, source: &mut Qemu, saved: &Path) -> Result<()> {
        self.incoming.prepare(source, self.from)?;
        source.set_capabilities(&[("validate-uuid", self.uuid.is_some())])?;
        if let Some(name) = self.on {
            source.set_capabilities(&[(name, true)])?;
        }
        let mut args = vec!["recv".to_owned(), "--from".into()];
        args.push(steps::socket(source.folder(), "migration"));
        args.extend(["--save".into(), saved.display().to_string()]);
        args.extend(self.common(self.incoming));
        if self.on == Some("switchover-ack") {
            args.extend(["--set".into(), "switchover-ack=on".into()]);
        }
        let mut receiving = lab.multifd().start(&args)?;
        let uri = receiving.wait_address()?;
        if self.live {
            steps::migrate_live(source, &uri)?;
        } else {
            source.pause()?;
            source.migrate(&uri)?;
        }
        let report = receiving.finish()?.json(0)?;
        source.wait_status(&["completed"], LIMIT)?;
        let sections = report
            .pointer("/devices/sections")
            .and_then(Value::as_array);
        ensure!(
            sections.is_some_and(|sections| sections.len() > 8),
            "{report:#}"
        );
        Ok(())
    }

    fn load(&self, lab: &Lab, destination: &mut Qemu, saved: &Path) -> Result<()> {
        self.outgoing.prepare(destination, self.to)?;
        let uri = steps::socket(destination.folder(), "migration");
        destination.migrate_incoming(&uri)?;
        let mut args = vec!["send".to_owned(), "--to".into(), uri];
        args.extend(["--load".into(), saved.display().to_string()]);
        args.extend(self.outgoing.args());
        let sent = lab.multifd().start(&args)?.finish()?;
        sent.json(0).with_context(|| destination.stderr())?;
        destination.wait_status(&["completed"], LIMIT)?;
        Ok(())
    }

    fn common(&self, link: Link) -> Vec<String> {
        let mut args = link.args();
        args.extend(
            self.uuid
                .into_iter()
                .flat_map(|uuid| ["--uuid".into(), uuid.to_owned()]),
        );
        args
    }

    /// What the command says of the folder is what was migrated.
    fn inspect(&self, lab: &Lab, saved: &Path) -> Result<()> {
        let inspecting = lab
            .multifd()
            .start([Path::new("inspect"), Path::new("--json"), saved])?;
        let record = inspecting.finish()?.json(0)?;
        let text = |path: &str| {
            record
                .pointer(path)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let sync_mode = match self.is_per_section() {
            true => "per-section",
            false => "per-round",
        };
        ensure!(
            text("/manifest/sync-mode").as_deref() == Some(sync_mode),
            "{record:#}"
        );
        let validated = record.pointer("/manifest/validate-uuid");
        ensure!(validated == Some(&self.uuid.is_some().into()), "{record:#}");
        let machine = text("/manifest/machine").context("no machine")?;
        let kind = self.machine.trim_start_matches("pc-");
        ensure!(machine.contains(kind), "the machine is {machine}");
        let last = record
            .pointer("/devices/sections")
            .and_then(Value::as_array);
        let last = last.and_then(|sections| sections.last()?.get("name")?.as_str());
        ensure!(last == Some("globalstate"), "{record:#}");
        Ok(())
    }

    /// The files hold what the source's guest had when it stopped.
    fn check_saved(&self, source: &mut Qemu, saved: &Path, counter: &Counter) -> Result<()> {
        let ram = ram_file(saved)?;
        let range = counter.range();
        let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
        let kept = ram.get(start..end).context("the block is too short")?;
        let snapshot = guest::check(kept)?;
        let passes = u32::try_from(source.passes()?.count)?;
        ensure!(
            [passes, passes + 1].contains(&snapshot.pass),
            "{passes} passes, {snapshot:?}"
        );
        // Below the video memory, too, where the firmware and the boot sector are.
        for range in [0..0xa0000, range] {
            let (start, end) = (usize::try_from(range.start)?, usize::try_from(range.end)?);
            let theirs = source.physical_memory(range)?;
            ensure!(
                ram.get(start..end) == Some(&theirs),
                "not the source's memory"
            );
        }
        Ok(())
    }
}

/// The guest's RAM: the largest block.
fn ram_file(saved: &Path) -> Result<Vec<u8>> {
    let manifest: Value = serde_json::from_slice(&fs::read(saved.join("manifest.json"))?)?;
    let blocks = manifest
        .get("blocks")
        .and_then(Value::as_array)
        .context("no blocks")?;
    let length = |block: &&Value| block.get("length").and_then(Value::as_u64);
    let ram = blocks.iter().max_by_key(length).context("no block")?;
    let file = ram.get("file").and_then(Value::as_str).context("no file")?;
    Ok(fs::read(saved.join("ram").join(file))?)
}

const UUID: &str = "12345678-9abc-def0-1234-56789abcdef0";
const MEMORY: u64 = 8 << 20;
