// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMUs that do not get the guest of `send --load`.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use rustix::process::Signal;

use super::super::steps::{self, LIMIT, Link};
use super::super::{Age, Case, Lab};
use super::bench::{Bench, MACHINE, MEMORY, TO, row};
use super::meddler::{Edit, Meddler};
use crate::command::Finished;
use crate::guest::Counter;
use crate::peer::{Passes, Qemu};

pub(super) fn cases() -> Vec<Case> {
    let troubles = [
        Trouble::Arguments {
            mode: "another UUID",
            args: &["--uuid", "12345678-9abc-def0-1234-56789abcdef0"],
            last_words: Some("uuid"),
        },
        Trouble::Arguments {
            mode: "another method",
            args: &["--set", "multifd-compression=zstd"],
            last_words: Some("multifd"),
        },
        Trouble::Arguments {
            mode: "fewer channels here",
            args: &["--set", "multifd-channels=1", "--time-limit", "1"],
            last_words: None,
        },
        Trouble::Arguments {
            mode: "more channels here",
            args: &["--set", "multifd-channels=3", "--time-limit", "1"],
            last_words: None,
        },
        Trouble::Machine("q35", "Machine type received is"),
        Trouble::Memory(2 * MEMORY, "Size mismatch: pc.ram"),
        Trouble::IgnoreShared,
        Trouble::Edited {
            mode: "a channel number too high",
            edit: Edit::Channel(9),
            last_words: "channel",
        },
        Trouble::Edited {
            mode: "an unknown block",
            edit: Edit::Main(b"\x06pc.ram", b"\x06no.ram"),
            last_words: "no.ram",
        },
        Trouble::Edited {
            mode: "a block twice",
            edit: Edit::Main(b"\x06pc.rom", b"\x06pc.ram"),
            last_words: "pc.ram",
        },
        Trouble::Silent,
        Trouble::Killed,
        Trouble::Signal(Signal::INT),
        Trouble::Signal(Signal::KILL),
    ];
    let kept = Arc::new(Mutex::new(None));
    let case = |trouble: Trouble| {
        let kept = Arc::clone(&kept);
        let row = row(&trouble.mode(), TO, "send --load");
        Case::new(GROUP, row, move |lab| {
            let mut kept = kept.lock();
            if kept.is_none() {
                *kept = Some(Kept::new(lab)?);
            }
            trouble.run(lab, kept.as_ref().context("it was just made")?)
        })
    };
    troubles.into_iter().map(case).collect()
}

/// What goes wrong on the way into a QEMU.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The command is told other things than the QEMU, which ends with these words, or waits for ever.
    Arguments {
        mode: &'static str,
        args: &'static [&'static str],
        last_words: Option<&'static str>,
    },
    /// The QEMU has this machine, and ends with these words.
    Machine(&'static str, &'static str),
    /// The QEMU has so much memory.
    Memory(u64, &'static str),
    /// The QEMU wants only a part of the memory.
    IgnoreShared,
    /// Somebody changes what the command says.
    Edited {
        mode: &'static str,
        edit: Edit,
        last_words: &'static str,
    },
    /// It is no QEMU, and neither reads nor says anything.
    Silent,
    /// The QEMU is killed while memory comes.
    Killed,
    /// The command gets a signal while memory goes.
    Signal(Signal),
}

impl Trouble {
    fn mode(self) -> String {
        match self {
            Self::Arguments { mode, .. } | Self::Edited { mode, .. } => mode.to_owned(),
            Self::Machine(..) => "another machine type there".to_owned(),
            Self::Memory(..) => "another size of memory there".to_owned(),
            Self::IgnoreShared => "x-ignore-shared there".to_owned(),
            Self::Silent => "a silent destination".to_owned(),
            Self::Killed => "the QEMU is killed".to_owned(),
            Self::Signal(Signal::KILL) => "SIGKILL".to_owned(),
            Self::Signal(_) => "SIGINT".to_owned(),
        }
    }

    fn run(self, lab: &Lab, kept: &Kept) -> Result<Vec<&'static str>> {
        if let Self::Silent = self {
            kept.send_to_nobody(lab)?;
        } else {
            let mut qemu = self.destination(lab, kept)?;
            let (finished, is_left) = self.fail(lab, kept, &mut qemu)?;
            self.check(&finished).with_context(|| qemu.stderr())?;
            if is_left {
                self.check_end(&mut qemu)?;
            }
        }
        kept.send(lab).context("the second attempt")?;
        Ok(vec![
            "the folder is as it was",
            "a second attempt succeeds",
            "every word of the guest that went on",
        ])
    }

    fn destination(self, lab: &Lab, kept: &Kept) -> Result<Qemu> {
        let (machine, counter) = match self {
            Self::Machine(machine, _) => (machine, None),
            Self::Memory(bytes, _) => (MACHINE, Some(Counter::assemble(bytes)?)),
            _ => (MACHINE, None),
        };
        let counter = counter.as_ref().unwrap_or(&kept.bench.counter);
        steps::start_destination(lab, Age::Current, machine, counter, None)
    }

    /// Migrates until it has failed; answers also whether the QEMU was left to itself.
    fn fail(self, lab: &Lab, kept: &Kept, qemu: &mut Qemu) -> Result<(Finished, bool)> {
        if let Self::IgnoreShared = self {
            qemu.set_capabilities(&[("x-ignore-shared", true)])?;
        }
        let uri = listen(qemu)?;
        let meddler = match self {
            Self::Edited { edit, .. } => Some(Meddler::start(kept.bench.socket(), &uri, edit)?),
            _ => None,
        };
        let args: &[&str] = match self {
            Self::Arguments { args, .. } => args,
            // So slow that it is not over before it fails.
            Self::Killed | Self::Signal(_) => &["--max-bandwidth", "1M"],
            _ => &[],
        };
        let uri = meddler.as_ref().map_or(uri, Meddler::uri);
        let sending = lab.multifd().start(kept.bench.send_arguments(&uri, args))?;
        if let Self::Killed | Self::Signal(_) = self {
            qemu.wait_status(&["active"], LIMIT)?;
        }
        match self {
            Self::Killed => qemu.kill()?,
            Self::Signal(signal) => sending.signal(signal)?,
            _ => {}
        }
        Ok((sending.finish()?, !matches!(self, Self::Killed)))
    }

    /// How the command ended.
    fn check(self, finished: &Finished) -> Result<()> {
        match self {
            Self::Signal(Signal::KILL) => {
                ensure!(finished.code.is_none(), "{finished:?}");
                Ok(())
            }
            Self::Signal(_) => finished.failed(&[130], &[]),
            // What it has heard of the QEMU's reason depends on what broke first.
            _ => finished.failed(&[3, 4], &["multifd: ", "hint: ", "destination"]),
        }
    }

    /// How the QEMU ended.
    fn check_end(self, qemu: &mut Qemu) -> Result<()> {
        let last_words = match self {
            Self::Arguments { last_words, .. } => last_words,
            Self::Machine(_, words) | Self::Memory(_, words) => Some(words),
            Self::Edited { last_words, .. } => Some(last_words),
            Self::IgnoreShared => Some("x-ignore-shared"),
            _ => Some("qemu"),
        };
        let Some(words) = last_words else {
            return Ok(());
        };
        qemu.wait_exit(LIMIT)?;
        let stderr = qemu.stderr();
        ensure!(stderr.contains(words), "no {words:?}: {stderr}");
        Ok(())
    }
}

/// A guest in a folder.
pub(super) struct Kept {
    pub(super) bench: Bench,
    before: Passes,
}

impl Kept {
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        let bench = Bench::new(Age::Current)?;
        let mut source = bench.source(lab)?;
        bench.save(lab, &mut source)?;
        let before = source.passes()?;
        Ok(Self { bench, before })
    }

    /// A QEMU for this guest.
    pub(super) fn destination(&self, lab: &Lab) -> Result<Qemu> {
        steps::start_destination(lab, Age::Current, MACHINE, &self.bench.counter, None)
    }

    /// A migration that succeeds.
    pub(super) fn send(&self, lab: &Lab) -> Result<()> {
        let mut qemu = self.destination(lab)?;
        let uri = listen(&mut qemu)?;
        let args = self.bench.send_arguments(&uri, &[]);
        lab.multifd().start(args)?.finish()?.json(0)?;
        steps::check_guest_goes_on(&self.before, &mut qemu, &self.bench.counter)?;
        Ok(())
    }

    /// A destination whose connections are made, and nothing else.
    fn send_to_nobody(&self, lab: &Lab) -> Result<()> {
        let socket = self.bench.socket();
        let _listener = UnixListener::bind(&socket)?;
        let uri = format!("unix:{}", socket.display());
        let args = self.bench.send_arguments(&uri, &["--time-limit", "1"]);
        let finished = lab.multifd().start(args)?.finish()?;
        std::fs::remove_file(socket)?;
        finished.failed(&[4], &["the destination has", "within 1 s", "hint: "])
    }
}

/// Has a QEMU wait for a guest.
pub(super) fn listen(qemu: &mut Qemu) -> Result<String> {
    Link::PLAIN.prepare(qemu, Age::Current)?;
    let uri = steps::socket(qemu.folder(), "migration");
    qemu.migrate_incoming(&uri)?;
    Ok(uri)
}

const GROUP: &str = "failures_to";
