// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A running QEMU.

use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::qmp::Qmp;

/// A QEMU process with a QMP session; made by [`Builder::start`](super::Builder::start).
///
/// Errors of its methods hold what QEMU wrote to stderr. Dropping it kills the process.
pub struct Qemu {
    qmp: Qmp,
    process: Process,
}

/// What a process has used of the processors since it started, over all its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Time outside of the kernel.
    pub user: Duration,
    /// Time inside of it.
    pub system: Duration,
}

impl CpuTime {
    /// Both together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Qemu {
    /// Runs the command that `command` makes for a QMP socket's path.
    pub(super) fn start(command: impl FnOnce(&Path) -> Command) -> Result<Self> {
        let folder =
            TempDir::with_prefix("multifd-peer-").context("a folder for QEMU's sockets")?;
        let socket = folder.path().join("qmp");
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        let deadline = Instant::now() + COMMAND_LIMIT;

        let mut process = Process::spawn(command(&socket), folder)?;
        let connected = process
            .accept(&listener, deadline)
            .and_then(|stream| Qmp::new(stream, deadline));
        match connected {
            Ok(qmp) => Ok(Self { qmp, process }),
            Err(error) => Err(process.explain(error)),
        }
    }

    /// Runs a QMP command and returns its result.
    ///
    /// # Errors
    ///
    /// A [`QmpError`](super::QmpError) if QEMU refuses the command; other errors if QEMU is gone or
    /// does not answer within half a minute.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let deadline = Instant::now() + COMMAND_LIMIT;
        self.qmp
            .execute(command, arguments, deadline)
            .map_err(|error| self.process.explain(error))
    }

    /// Waits for a QMP event by its name, such as `STOP`, and returns the whole event.
    ///
    /// Events that came earlier and were not asked for are kept and count.
    ///
    /// # Errors
    ///
    /// If the event does not come within `timeout` or QEMU is gone.
    pub fn wait_event(&mut self, name: &str, timeout: Duration) -> Result<Value> {
        self.qmp
            .wait_event(name, Instant::now() + timeout)
            .map_err(|error| self.process.explain(error))
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// A folder for sockets and files of this process, removed with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.process.folder.path()
    }

    /// What QEMU has written to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// What the process has used of the processors so far, in steps of 10 ms.
    ///
    /// # Errors
    ///
    /// If the process's entry in `/proc` cannot be read.
    pub fn cpu_time(&self) -> Result<CpuTime> {
        let path = format!("/proc/{}/stat", self.id());
        let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
        parse_cpu_time(&stat).with_context(|| format!("{path}: {stat:?}"))
    }

    /// Waits for the process to end by itself, as a destination does whose migration failed.
    ///
    /// # Errors
    ///
    /// If it still runs after `timeout`.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.process.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                let error = anyhow::anyhow!("QEMU still runs after {timeout:?}");
                return Err(self.process.explain(error));
            }
            thread::sleep(POLL);
        }
    }

    /// Kills the process and waits for its end.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn kill(&mut self) -> Result<()> {
        self.process.child.kill()?;
        self.process.child.wait()?;
        Ok(())
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    ///
    /// If it does not answer or does not end within half a minute.
    pub fn quit(mut self) -> Result<ExitStatus> {
        self.execute("quit", json!({}))?;
        self.wait_exit(COMMAND_LIMIT)
    }
}

impl fmt::Debug for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qemu")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The child with the files it uses.
struct Process {
    child: Child,
    stderr: PathBuf,
    folder: TempDir,
}

impl Process {
    fn spawn(mut command: Command, folder: TempDir) -> Result<Self> {
        let stderr = folder.path().join("stderr");
        let file = File::create(&stderr).with_context(|| stderr.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {command:?}"))?;
        Ok(Self {
            child,
            stderr,
            folder,
        })
    }

    /// Accepts the connection of a child that may end instead of making one.
    fn accept(&mut self, listener: &UnixListener, deadline: Instant) -> Result<UnixStream> {
        listener.set_nonblocking(true)?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e).context("accept QEMU's QMP connection"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("QEMU ended before it connected to QMP: {status}");
            }
            if Instant::now() >= deadline {
                bail!("QEMU did not connect to QMP in time");
            }
            thread::sleep(POLL);
        }
    }

    fn stderr(&self) -> String {
        match fs::read(&self.stderr) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("({}: {error})", self.stderr.display()),
        }
    }

    /// Adds what QEMU said to an error.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let stderr = self.stderr();
        if stderr.trim().is_empty() {
            return error;
        }
        let summary = format!("{error:#}; QEMU's stderr: {}", stderr.trim());
        error.context(summary)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads fields 14 and 15 of `/proc/PID/stat`. The name in field 2 may hold blanks and parentheses.
fn parse_cpu_time(stat: &str) -> Option<CpuTime> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut time = || {
        let ticks: u64 = fields.next()?.parse().ok()?;
        Some(Duration::from_millis(ticks.checked_mul(MS_PER_TICK)?))
    };
    Some(CpuTime {
        user: time()?,
        system: time()?,
    })
}

/// Linux reports processor time to user space in hundredths of a second on x86 and arm.
const MS_PER_TICK: u64 = 10;

/// Longer than any command takes on a busy machine, short enough for a test that hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_times_behind_an_awkward_name() {
        let stat = "7 (a) b (c) S 6 6 5 0 -1 138412416 2674 0 0 0 123 4 0 0 20 0 2 0 78939";
        let time = parse_cpu_time(stat).unwrap();
        assert_eq!(time.user, Duration::from_millis(1230));
        assert_eq!(time.system, Duration::from_millis(40));
        assert_eq!(parse_cpu_time("7 (a) S 1"), None);
    }
}
