// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One measured migration: two processes of this program over 127.0.0.1.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use multifd_core::Error;
use rustix::process::{Pid, Signal, kill_process};

use crate::ends::interrupt::Interrupt;
use crate::lab::guest::Guest;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::report::MigrationReport;

/// Starts pairs of processes, and ends them when a signal comes.
pub(crate) struct Pairs {
    interrupt: Interrupt,
    running: Arc<Mutex<Vec<Pid>>>,
    commands: Commands,
}

/// What the processes are told in every run, beside addresses, memory and settings.
pub(crate) struct Commands {
    pub(crate) source: Vec<String>,
    pub(crate) destination: Vec<String>,
}

/// What the processes are told for one run.
pub(crate) struct Told {
    /// On both sides.
    pub(crate) settings: Vec<String>,
    /// More arguments of the source.
    pub(crate) source: Vec<String>,
}

impl From<Vec<String>> for Told {
    fn from(settings: Vec<String>) -> Self {
        Self {
            settings,
            source: Vec::new(),
        }
    }
}

/// What both processes of a pair have reported.
pub(crate) struct PairReport {
    pub(crate) source: MigrationReport,
    pub(crate) destination: MigrationReport,
}

/// How a process has ended, and what it has written.
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

impl Commands {
    /// `send` and `recv`, for memory that stands still.
    pub(crate) fn still(more: &[String]) -> Self {
        let of = |words: &[&str]| {
            let words = words.iter().map(ToString::to_string);
            words.chain(more.iter().cloned()).collect()
        };
        Self {
            source: of(&["send"]),
            destination: of(&["recv", "--in-place", "--wait", "10"]),
        }
    }

    /// `vm` on both sides. A guest that is too fast is slowed down: every run comes to an end.
    pub(crate) fn running(more: &[String]) -> Self {
        let vm = ["vm", "--set", "auto-converge=on"].map(String::from);
        let vm: Vec<_> = vm.into_iter().chain(more.iter().cloned()).collect();
        Self {
            source: vm.clone(),
            destination: vm,
        }
    }
}

impl Pairs {
    pub(crate) fn new(interrupt: Interrupt, commands: Commands) -> Self {
        let running = Arc::new(Mutex::new(Vec::<Pid>::new()));
        let children = Arc::clone(&running);
        interrupt.on_signal(move || {
            for pid in lock(&children).iter() {
                // It may have ended by itself.
                let _ = kill_process(*pid, Signal::TERM);
            }
            ExitCode::Interrupted
        });
        Self {
            interrupt,
            running,
            commands,
        }
    }

    /// Migrates the source's memory to the destination's.
    pub(crate) fn run(
        &self,
        guest: &Guest,
        told: &Told,
        label: &str,
    ) -> anyhow::Result<PairReport> {
        self.check_interrupted()?;
        let result = self.migrate(guest, told, label);
        lock(&self.running).clear();
        self.check_interrupted()?;
        let (source, destination) = result?;
        if !(source.status.success() && destination.status.success()) {
            return Err(failure(label, &source, &destination).into());
        }
        let report = |ended: &Ended| serde_json::from_slice(&ended.stdout);
        Ok(PairReport {
            source: report(&source).context("the source's report")?,
            destination: report(&destination).context("the destination's report")?,
        })
    }

    /// Ends what is done in many steps.
    ///
    /// # Errors
    /// A signal has asked for the end.
    pub(crate) fn check_interrupted(&self) -> Result<(), Error> {
        if self.interrupt.is_interrupted() {
            return Err(Error::aborted());
        }
        Ok(())
    }

    fn migrate(&self, guest: &Guest, told: &Told, label: &str) -> anyhow::Result<(Ended, Ended)> {
        let mut recv = command(&self.commands.destination, &told.settings)?;
        recv.args(["--listen", "tcp:127.0.0.1:0", "--quiet"]);
        recv.args(["--ram", &guest.destination_path()]);
        let mut recv = self.start(recv.stderr(Stdio::piped()))?;
        let (address, recv_stderr) = listen(recv.stderr.take().context("no stderr")?);
        let Ok(address) = address.recv() else {
            // It has ended before it listened, and says why.
            let ended = finish(recv, Some(recv_stderr))?;
            let code = ExitCode::of_child(ended.status).unwrap_or(ExitCode::Local);
            let what = format!("{label}: {}", ended.text("destination"));
            return Err(Failure::new(code, what).into());
        };
        let mut send = command(&self.commands.source, &told.settings)?;
        send.args(&told.source);
        send.args([
            "--to",
            &address,
            "--ram",
            &guest.source_path(),
            "--label",
            label,
        ]);
        if !io::stderr().is_terminal() {
            send.arg("--quiet").stderr(Stdio::piped());
        } // Else it draws the progress, and has nobody in between for its messages either.
        let mut send = self.start(&mut send)?;
        let send_stderr = send.stderr.take().map(|stderr| collect(stderr, |_| {}));
        let source = finish(send, send_stderr)?;
        Ok((source, finish(recv, Some(recv_stderr))?))
    }

    fn start(&self, command: &mut Command) -> anyhow::Result<Child> {
        let mut running = lock(&self.running);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        running.push(Pid::from_child(&child));
        Ok(child)
    }
}

/// This program again, as one side.
fn command(arguments: &[String], settings: &[String]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).arg("--json");
    for setting in settings {
        command.args(["--set", setting]);
    }
    Ok(command)
}

impl Ended {
    /// What to say of it.
    fn text(&self, side: &str) -> String {
        let mut text = format!("the {side} ended with {}", self.status);
        for line in self.stderr.lines() {
            text.push_str("; ");
            text.push_str(line);
        }
        text
    }
}

/// Collects what a destination says, and answers where it says that it listens.
fn listen(stderr: ChildStderr) -> (mpsc::Receiver<String>, JoinHandle<String>) {
    let (send_address, address) = mpsc::channel();
    let collected = collect(stderr, move |line| {
        if let Some(address) = line.strip_prefix("listening on ") {
            // Fails only if nobody waits any more.
            let _ = send_address.send(address.to_owned());
        }
    });
    (address, collected)
}

/// Collects what a process says, on a thread of its own: nothing that it writes ever blocks it.
fn collect(stderr: ChildStderr, look: impl Fn(&str) + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            look(&line);
            text.push_str(&line);
            text.push('\n');
        }
        text
    })
}

fn finish(mut child: Child, stderr: Option<JoinHandle<String>>) -> io::Result<Ended> {
    let mut stdout = Vec::new();
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_end(&mut stdout)?;
    }
    Ok(Ended {
        status: child.wait()?,
        stdout,
        stderr: stderr
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default(),
    })
}

/// Both sides fail when one does. A broken connection is what the other one sees.
fn failure(label: &str, source: &Ended, destination: &Ended) -> Failure {
    let code = |ended: &Ended| ExitCode::of_child(ended.status).unwrap_or(ExitCode::Local);
    let code = match code(destination) {
        ExitCode::Ok | ExitCode::Connection => code(source),
        code => code,
    };
    let sides = [("source", source), ("destination", destination)];
    let texts: Vec<_> = sides
        .iter()
        .filter(|(_, ended)| !ended.status.success())
        .map(|(side, ended)| ended.text(side))
        .collect();
    Failure::new(code, format!("{label}: {}", texts.join("; ")))
}

fn lock(running: &Mutex<Vec<Pid>>) -> MutexGuard<'_, Vec<Pid>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
