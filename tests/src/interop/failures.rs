//! Migrations that fail: the guest runs on, nothing is left of it elsewhere, and the next attempt succeeds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::steps::{self, LIMIT, Link};
use super::{Age, Case, Lab, Peers, Row};
use crate::command::{self, Finished, Running};
use crate::guest::Counter;
use crate::peer::Qemu;

pub(super) fn cases() -> Vec<Case> {
    let troubles = [
        Trouble::Arguments {
            mode: "another UUID",
            args: &["--uuid", "12345678-9abc-def0-1234-56789abcdef0"],
            codes: &[3],
            words: &["--uuid"],
        },
        Trouble::Arguments {
            mode: "another method",
            args: &["--set", "multifd-compression=zstd"],
            codes: &[3],
            words: &["multifd-compression"],
        },
        Trouble::Arguments {
            mode: "another machine type",
            args: &["--machine", "pc-q35-10.0"],
            codes: &[3],
            words: &["the source's machine is \"pc-i440fx"],
        },
        Trouble::Arguments {
            mode: "fewer channels here",
            args: &["--set", "multifd-channels=1"],
            codes: &[3],
            words: &["multifd-channels"],
        },
        Trouble::Arguments {
            mode: "more channels here",
            args: &["--set", "multifd-channels=3", "--time-limit", "1"],
            codes: &[4],
            words: &["multifd-channels"],
        },
        Trouble::SmallDisk,
        Trouble::Signal(Signal::INT),
        Trouble::Signal(Signal::KILL),
        Trouble::Cancel,
    ];
    let troubles = troubles.into_iter();
    let mut cases: Vec<_> = troubles
        .map(|trouble| {
            let row = row(trouble.mode(), Peers::From(Age::Current), "recv --save");
            let case = Case::new(GROUP, row, move |lab| trouble.run(lab));
            match trouble {
                Trouble::SmallDisk => case.needs(SMALL_DISK, command::has_small_disks),
                _ => case,
            }
        })
        .collect();
    let from = Peers::From(Age::Current);
    cases.push(Case::new(
        GROUP,
        row("the QEMU is killed", from, "recv --save"),
        qemu_killed,
    ));
    cases.push(Case::new(
        GROUP,
        row("x-ignore-shared", from, "recv --save"),
        ignore_shared,
    ));
    let both = Peers::Between(Age::Current, Age::Current);
    let role = "recv --save, send --load";
    cases.push(Case::new(
        GROUP,
        row("another machine type first", both, role),
        wrong_machine,
    ));
    cases
}

fn row(mode: &str, peers: Peers, role: &'static str) -> Row {
    Row {
        peers,
        role,
        machine: MACHINE.into(),
        method: "none".into(),
        mode: format!("live, {mode}"),
        channels: "2".into(),
    }
}

/// What goes wrong while a guest is received that counts.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The command is told other things than the QEMU.
    Arguments {
        mode: &'static str,
        args: &'static [&'static str],
        codes: &'static [i32],
        words: &'static [&'static str],
    },
    /// The guest does not fit.
    SmallDisk,
    /// The command gets a signal while memory comes.
    Signal(Signal),
    /// The QEMU is told to give up while memory goes.
    Cancel,
}

impl Trouble {
    fn mode(self) -> &'static str {
        match self {
            Self::Arguments { mode, .. } => mode,
            Self::SmallDisk => "a disk that is too small",
            Self::Signal(Signal::KILL) => "SIGKILL",
            Self::Signal(_) => "SIGINT",
            Self::Cancel => "migrate_cancel",
        }
    }

    fn run(self, lab: &Lab) -> Result<Vec<&'static str>> {
        let bench = Bench::new()?;
        let mut source = bench.source(lab)?;
        let finished = self.fail(lab, &bench, &mut source)?;
        self.check(&finished)?;
        source.wait_status(&["failed", "cancelled"], LIMIT)?;
        runs_on(&mut source).context("after the failure")?;
        ensure!(!bench.saved().exists(), "something was kept");
        if !matches!(self, Self::Signal(Signal::KILL)) {
            ensure!(!bench.partial().exists(), "something is left");
        }
        bench.save(lab, &mut source).context("the second attempt")?;
        Ok(vec![
            "the guest runs on",
            "nothing is kept",
            "a second attempt succeeds",
        ])
    }

    /// Migrates until it has failed.
    fn fail(self, lab: &Lab, bench: &Bench, source: &mut Qemu) -> Result<Finished> {
        let mut receiving = match self {
            Self::Arguments { args, .. } => bench.receive(lab, args)?,
            Self::SmallDisk => {
                let args = bench.arguments(&[]);
                lab.multifd()
                    .start_on_small_disk(bench.folder(), 4 << 20, args)?
            }
            Self::Signal(_) | Self::Cancel => bench.receive(lab, &[])?,
        };
        let uri = receiving.wait_address()?;
        // So slow that it is not over before it fails.
        source.set_parameters(json!({"downtime-limit": 0, "max-bandwidth": 8 << 20}))?;
        source.migrate(&uri)?;
        match self {
            Self::Arguments { .. } | Self::SmallDisk => {}
            Self::Signal(signal) => {
                wait_for_pages(source)?;
                receiving.signal(signal)?;
            }
            Self::Cancel => {
                wait_for_pages(source)?;
                source.execute("migrate_cancel", json!({}))?;
            }
        }
        receiving.finish()
    }

    /// How the command ended.
    fn check(self, finished: &Finished) -> Result<()> {
        match self {
            Self::Arguments { codes, words, .. } => finished.failed(codes, words),
            Self::SmallDisk => finished.failed(&[1], &["do not fit"]),
            Self::Signal(Signal::KILL) => {
                ensure!(finished.code.is_none(), "{finished:?}");
                Ok(())
            }
            Self::Signal(_) => finished.failed(&[130], &[]),
            Self::Cancel => finished.failed(&[4], &["multifd: "]),
        }
    }
}

/// The source ends in the middle: the command does, too, and keeps nothing.
fn qemu_killed(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new()?;
    let mut source = bench.source(lab)?;
    let mut receiving = bench.receive(lab, &[])?;
    source.set_parameters(json!({"downtime-limit": 0, "max-bandwidth": 8 << 20}))?;
    source.migrate(&receiving.wait_address()?)?;
    wait_for_pages(&mut source)?;
    drop(source);
    receiving
        .finish()?
        .failed(&[4], &["the source may have ended"])?;
    ensure!(
        !bench.saved().exists() && !bench.partial().exists(),
        "something was kept"
    );
    Ok(vec!["the command ends", "nothing is kept"])
}

/// Memory that the source does not send cannot be kept.
fn ignore_shared(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new()?;
    let mut source = bench.source(lab)?;
    source.set_capabilities(&[("x-ignore-shared", true)])?;
    let mut receiving = bench.receive(lab, &[])?;
    source.migrate(&receiving.wait_address()?)?;
    receiving.finish()?.failed(
        &[3],
        &["x-ignore-shared is not supported: turn it off at the source"],
    )?;
    source.wait_status(&["failed"], LIMIT)?;
    runs_on(&mut source)?;
    source.set_capabilities(&[("x-ignore-shared", false)])?;
    bench.save(lab, &mut source).context("the second attempt")?;
    Ok(vec![
        "refused with the reason",
        "the guest runs on",
        "a second attempt succeeds",
    ])
}

/// A destination that refuses the guest does the folder no harm.
fn wrong_machine(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new()?;
    let mut source = bench.source(lab)?;
    bench.save(lab, &mut source)?;
    let before = source.passes()?;
    drop(source);

    let mut wrong = steps::start_destination(lab, Age::Current, "q35", &bench.counter, None)?;
    let refused = bench.send(lab, &mut wrong)?;
    refused.failed(&[3, 4], &["multifd: "])?;
    wrong.wait_exit(LIMIT)?;
    ensure!(
        wrong.stderr().contains("Machine type received is"),
        "{}",
        wrong.stderr()
    );
    let mut right = steps::start_destination(lab, Age::Current, MACHINE, &bench.counter, None)?;
    bench.send(lab, &mut right)?.json(0)?;
    steps::check_guest_goes_on(&before, &mut right, &bench.counter)?;
    Ok(vec![
        "the folder is as it was",
        "every word of the guest that went on",
    ])
}

/// A guest and the folder that it is to be kept in.
struct Bench {
    folder: TempDir,
    counter: Counter,
}

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self {
            folder: TempDir::with_prefix("multifd-failures-")?,
            counter: Counter::assemble(MEMORY)?,
        })
    }

    /// A folder for the kept guest alone.
    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn saved(&self) -> PathBuf {
        self.folder().join("guest")
    }

    fn partial(&self) -> PathBuf {
        self.folder().join("guest.partial")
    }

    fn source(&self, lab: &Lab) -> Result<Qemu> {
        let mut qemu = steps::start_guest(lab, Age::Current, MACHINE, &self.counter, None)?;
        Link::PLAIN.prepare(&mut qemu, Age::Current)?;
        Ok(qemu)
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        // Not in the folder: a small disk would hide it.
        let from = format!("{}.socket", self.folder().display());
        let mut args = vec!["recv".to_owned(), "--from".into(), format!("unix:{from}")];
        args.extend(["--save".into(), self.saved().display().to_string()]);
        args.extend(Link::PLAIN.args());
        args.extend(more.iter().map(ToString::to_string));
        args
    }

    fn receive(&self, lab: &Lab, more: &[&str]) -> Result<Running> {
        lab.multifd().start(self.arguments(more))
    }

    /// A migration that succeeds.
    fn save(&self, lab: &Lab, source: &mut Qemu) -> Result<()> {
        let mut receiving = self.receive(lab, &[])?;
        let uri = receiving.wait_address()?;
        source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 0}))?;
        steps::migrate_again(source, &uri)?;
        receiving.finish()?.json(0)?;
        source.wait_status(&["completed"], LIMIT)?;
        let inspecting = lab.multifd().start([Path::new("inspect"), &self.saved()])?;
        ensure!(
            inspecting.finish()?.code == Some(0),
            "what was kept is not in order"
        );
        Ok(())
    }

    fn send(&self, lab: &Lab, destination: &mut Qemu) -> Result<Finished> {
        Link::PLAIN.prepare(destination, Age::Current)?;
        let uri = steps::socket(destination.folder(), "migration");
        destination.migrate_incoming(&uri)?;
        let mut args = vec!["send".to_owned(), "--to".into(), uri];
        args.extend(["--load".into(), self.saved().display().to_string()]);
        args.extend(Link::PLAIN.args());
        lab.multifd().start(&args)?.finish()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A command that was killed leaves its socket behind.
        let _ = std::fs::remove_file(self.folder().with_extension("socket"));
    }
}

/// Waits until some of the memory is on its way.
fn wait_for_pages(source: &mut Qemu) -> Result<()> {
    let start = std::time::Instant::now();
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
fn runs_on(source: &mut Qemu) -> Result<()> {
    let state = source.run_state()?;
    ensure!(state == "running", "the guest is {state}");
    let passes = source.passes()?.count;
    source.wait_passes(passes + 2)?;
    Ok(())
}

const GROUP: &str = "failures";
const SMALL_DISK: &str =
    "unshare and mount of util-linux, and a kernel that lets this user mount a tmpfs";
const MACHINE: &str = "pc";
const MEMORY: u64 = 8 << 20;
