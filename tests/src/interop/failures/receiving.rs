// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that `recv --save` does not get.

use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::super::steps::{LIMIT, Link};
use super::super::{Age, Case, Lab, Peers};
use super::bench::{Bench, FROM, row, runs_on, wait_for_pages};
use super::meddler::{Edit, Meddler};
use crate::command::{self, Finished, Running};
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
        Trouble::Edited {
            mode: "a channel number too high",
            edit: Edit::Channel(9),
            words: &["channel number 9", "multifd-channels"],
        },
        Trouble::Edited {
            mode: "a channel number twice",
            edit: Edit::Channel(0),
            words: &["channel number 0 is used twice"],
        },
        Trouble::Edited {
            mode: "an unknown block",
            edit: Edit::Main(b"\x06pc.ram", b"\x06no.ram"),
            words: &["pc.ram"],
        },
        Trouble::Edited {
            mode: "a block twice",
            edit: Edit::Main(b"\x06pc.rom", b"\x06pc.ram"),
            words: &["pc.ram"],
        },
        Trouble::Edited {
            mode: "a block of another size",
            edit: Edit::Main(
                b"\x06pc.ram\0\0\0\0\0\x80\0\0",
                b"\x06pc.ram\0\0\0\0\0\x70\0\0",
            ),
            words: &["main stream"],
        },
        Trouble::SmallDisk,
        Trouble::Signal(Signal::INT),
        Trouble::Signal(Signal::KILL),
        Trouble::Cancel(Moment::Setup),
        Trouble::Cancel(Moment::Active),
        Trouble::Cancel(Moment::PreSwitchover),
        Trouble::CancelOverTcp,
    ];
    let with_old = troubles.into_iter().filter(|trouble| trouble.is_for_old());
    let with_old = with_old.map(|trouble| trouble.case(Age::Old));
    let troubles = troubles.iter().map(|trouble| trouble.case(Age::Current));
    let special = [
        ("live, the QEMU is killed", qemu_killed as fn(&Lab) -> _),
        ("live, x-ignore-shared", ignore_shared),
        ("live, a silent connection besides", stranger),
    ];
    let special = special.map(|(mode, run)| Case::new(GROUP, row(mode, FROM, ROLE), run));
    let with_new = Case::new(
        GROUP,
        row("live, migrate-start-postcopy", Peers::From(Age::New), ROLE),
        postcopy,
    );
    let cases = troubles.chain(special).chain(with_old);
    cases.chain([with_new]).collect()
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
    /// Somebody changes what the QEMU says.
    Edited {
        mode: &'static str,
        edit: Edit,
        words: &'static [&'static str],
    },
    /// The guest does not fit.
    SmallDisk,
    /// The command gets a signal while memory comes.
    Signal(Signal),
    /// The QEMU is told to give up.
    Cancel(Moment),
    /// The same, over TCP with many channels.
    CancelOverTcp,
}

/// What the QEMU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// It has just begun.
    Setup,
    /// It sends memory.
    Active,
    /// It has paused the guest and waits to be told to go on.
    PreSwitchover,
}

impl Trouble {
    fn mode(self) -> &'static str {
        match self {
            Self::Arguments { mode, .. } | Self::Edited { mode, .. } => mode,
            Self::SmallDisk => "a disk that is too small",
            Self::Signal(Signal::KILL) => "SIGKILL",
            Self::Signal(_) => "SIGINT",
            Self::Cancel(Moment::Setup) => "migrate_cancel at once",
            Self::Cancel(Moment::Active) => "migrate_cancel",
            Self::Cancel(Moment::PreSwitchover) => "migrate_cancel before the switchover",
            Self::CancelOverTcp => "TCP, migrate_cancel",
        }
    }

    /// Whether a QEMU from before 9.0 is put to it, too: its channels start and end in another way.
    fn is_for_old(self) -> bool {
        matches!(
            self,
            Self::Arguments { .. } | Self::Cancel(Moment::Active) | Self::Signal(Signal::KILL)
        )
    }

    fn case(self, age: Age) -> Case {
        let mode = format!("live, {}", self.mode());
        let mut row = row(&mode, Peers::From(age), ROLE);
        row.channels = self.link().channels.to_string();
        let case = Case::new(GROUP, row, move |lab| self.run(lab, age));
        match self {
            Self::SmallDisk => case.needs(SMALL_DISK, command::has_small_disks),
            _ => case,
        }
    }

    fn link(self) -> Link {
        match self {
            Self::CancelOverTcp => Link {
                channels: 16,
                ..Link::PLAIN
            },
            _ => Link::PLAIN,
        }
    }

    fn run(self, lab: &Lab, age: Age) -> Result<Vec<&'static str>> {
        let bench = match self {
            Self::CancelOverTcp => Bench::over_tcp(self.link())?,
            _ => Bench::new(age)?,
        };
        let mut source = bench.source(lab)?;
        let finished = self.fail(lab, &bench, &mut source)?;
        self.check(&finished)?;
        source.wait_status(&["failed", "cancelled"], LIMIT)?;
        source.set_capabilities(&[("pause-before-switchover", false)])?;
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
        let mut receiving = self.receive(lab, bench)?;
        let uri = receiving.wait_address()?;
        let meddler = match self {
            Self::Edited { edit, .. } => Some(Meddler::start(bench.socket(), &uri, edit)?),
            _ => None,
        };
        let pauses = matches!(self, Self::Cancel(Moment::PreSwitchover));
        source.set_capabilities(&[("pause-before-switchover", pauses)])?;
        // So slow that it is not over before it fails.
        source.set_parameters(json!({"downtime-limit": 0, "max-bandwidth": 8 << 20}))?;
        source.migrate(&meddler.as_ref().map_or(uri, Meddler::uri))?;
        match self {
            Self::Signal(signal) => {
                wait_for_pages(source)?;
                receiving.signal(signal)?;
            }
            Self::Cancel(moment) => moment.cancel(source)?,
            Self::CancelOverTcp => Moment::Active.cancel(source)?,
            _ => {}
        }
        receiving.finish()
    }

    fn receive(self, lab: &Lab, bench: &Bench) -> Result<Running> {
        match self {
            Self::Arguments { args, .. } => bench.receive(lab, args),
            Self::SmallDisk => {
                let (args, multifd) = (bench.arguments(&[]), lab.multifd());
                multifd.start_on_small_disk(&bench.folder(), 4 << 20, args)
            }
            _ => bench.receive(lab, &[]),
        }
    }

    /// How the command ended.
    fn check(self, finished: &Finished) -> Result<()> {
        match self {
            Self::Arguments { codes, words, .. } => finished.failed(codes, words),
            // Of a channel that is somebody else's, the source's own is missing in the end.
            Self::Edited { words, .. } => finished.failed(&[3, 4], words),
            Self::SmallDisk => finished.failed(&[1], &["do not fit"]),
            Self::Signal(Signal::KILL) => {
                ensure!(finished.code.is_none(), "{finished:?}");
                Ok(())
            }
            Self::Signal(_) => finished.failed(&[130], &[]),
            Self::Cancel(_) | Self::CancelOverTcp => finished.failed(&[4], &["multifd: "]),
        }
    }
}

/// Somebody else connects first and says nothing: that is nothing to the migration.
fn stranger(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new(Age::Current)?;
    let mut source = bench.source(lab)?;
    let mut receiving = bench.receive(lab, &["--time-limit", "5"])?;
    let uri = receiving.wait_address()?;
    let _stranger = UnixStream::connect(bench.own_socket())?;
    source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 0}))?;
    source.migrate(&uri)?;
    source.wait_status(&["completed"], LIMIT)?;
    receiving.finish()?.ended(&[0], &[])?;
    bench.inspect(lab)?;
    Ok(vec!["the guest is kept", "the connection is closed"])
}

impl Moment {
    /// Waits for it, and cancels.
    fn cancel(self, source: &mut Qemu) -> Result<()> {
        match self {
            Self::Setup => {}
            Self::Active => wait_for_pages(source)?,
            Self::PreSwitchover => {
                source.set_parameters(json!({"downtime-limit": 30_000, "max-bandwidth": 0}))?;
                source.wait_status(&["pre-switchover"], LIMIT)?;
            }
        }
        source.execute("migrate_cancel", json!({}))?;
        Ok(())
    }
}

/// The source ends in the middle: the command does, too, and keeps nothing.
fn qemu_killed(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new(Age::Current)?;
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
    let bench = Bench::new(Age::Current)?;
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

/// A guest that runs at its destination before its memory has come cannot be kept.
fn postcopy(lab: &Lab) -> Result<Vec<&'static str>> {
    let bench = Bench::new(Age::New)?;
    let mut source = bench.source(lab)?;
    source.set_capabilities(&[("postcopy-ram", true)])?;
    let mut receiving = bench.receive(lab, &[])?;
    let uri = receiving.wait_address()?;
    source.set_parameters(json!({"downtime-limit": 0, "max-bandwidth": 8 << 20}))?;
    source.migrate(&uri)?;
    wait_for_pages(&mut source)?;
    source.execute("migrate-start-postcopy", json!({}))?;
    receiving.finish()?.failed(
        &[3],
        &["command POSTCOPY_RAM_DISCARD", "migrate-start-postcopy"],
    )?;
    source.wait_status(&["failed"], LIMIT)?;
    runs_on(&mut source)?;
    ensure!(
        !bench.saved().exists() && !bench.partial().exists(),
        "something was kept"
    );
    bench.save(lab, &mut source).context("the second attempt")?;
    Ok(vec![
        "refused with the reason",
        "the guest runs on",
        "a second attempt succeeds",
    ])
}

const GROUP: &str = "failures_from";
const ROLE: &str = "recv --save";
const SMALL_DISK: &str =
    "unshare and mount of util-linux, and a kernel that lets this user mount a tmpfs";
