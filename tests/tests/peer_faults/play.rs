// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Runs a row.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use multifd_tests::command::{Finished, Multifd, Running};

use super::row::{Connection, End, Kind, MAIN, Row, Step};

/// `--time-limit` of every command, in seconds: what a busy machine takes is far below.
pub(crate) const LIMIT: &str = "3";

/// Has a source do what the row says, and checks how the command ends. It has a minute for it, more than ten times what
/// its limits allow.
pub(crate) fn run(multifd: &Multifd, kind: Kind, row: &Row, end: End) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).display().to_string();
    let from = format!("unix:{}", at("in"));
    let method = format!("multifd-compression={}", row.method);
    let method = method.as_str();
    let common = ["--json", "--quiet", "--time-limit", LIMIT];
    let (mut behind, mut running) = match kind {
        Kind::Recv => {
            let ram = at("ram");
            let args = [
                "recv", "--from", &from, "--ram", &ram, "--set", method, "--wait", LIMIT,
            ];
            (None, multifd.start([&args[..], &common].concat())?)
        }
        Kind::Save => {
            let guest = at("guest");
            let args = [
                "recv", "--from", &from, "--save", &guest, "--set", method, "--wait", LIMIT,
            ];
            (None, multifd.start([&args[..], &common].concat())?)
        }
        Kind::Relay => {
            let (to, ram) = (format!("unix:{}", at("out")), at("ram"));
            let args = ["recv", "--from", &to, "--ram", &ram];
            let mut behind = multifd.start([&args[..], &["--json", "--quiet"]].concat())?;
            behind.wait_address()?;
            let args = ["relay", "--listen", &from, "--to", &to, "--in", method];
            (Some(behind), multifd.start([&args[..], &common].concat())?)
        }
    };
    running.wait_address()?;
    let mut memory = 0;
    let to = folder.path().join("in");
    let mut source = Source::new(|| UnixStream::connect(&to));
    for step in &row.steps {
        source.take(step)?;
        memory = peak(running.id()).unwrap_or(0).max(memory);
    }
    source.wait(&mut running, &mut memory)?;
    drop(source);
    let ended = running.finish()?;
    if let Some(behind) = &mut behind {
        behind.kill()?;
    }
    check(&ended, (end.code, end.says), (memory, row.memory))
}

/// Checks how a command has ended: the exit status, words on stderr, and how much memory it took at the most, in MiB.
pub(crate) fn check(
    ended: &Finished,
    (code, says): (i32, &str),
    (memory, most): (u64, u64),
) -> Result<()> {
    ensure!(
        ended.code == Some(code),
        "wanted exit status {code}: {ended:#?}"
    );
    ensure!(ended.stderr.contains(says), "wanted {says:?}: {ended:#?}");
    ensure!(memory > 0, "its memory was not seen");
    ensure!(
        memory <= most,
        "it took {memory} MiB of memory, wanted no more than {most}"
    );
    Ok(())
}

/// The connections of a source.
pub(crate) struct Source<S, C> {
    connect: C,
    connections: BTreeMap<Connection, S>,
}

/// A connection to the command.
pub(crate) trait Stream: Read + Write {
    /// How long a read may take.
    fn set_read_limit(&self, limit: Duration) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn set_read_limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

impl Stream for TcpStream {
    fn set_read_limit(&self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

impl<S: Stream, C: Fn() -> io::Result<S>> Source<S, C> {
    /// One that has no connection yet.
    pub(crate) fn new(connect: C) -> Self {
        Self {
            connect,
            connections: BTreeMap::new(),
        }
    }

    /// Does what comes next.
    pub(crate) fn take(&mut self, step: &Step) -> Result<()> {
        match step {
            // Whoever is refused may be cut off.
            Step::Say(on, bytes) => {
                if let Some(connection) = self.connection(*on)? {
                    drop(connection.write_all(bytes));
                }
            }
            Step::Close(connection) => drop(self.connections.remove(connection)),
            Step::AwaitEnd(connection) => {
                let Some(connection) = self.connection(*connection)? else {
                    return Ok(());
                };
                connection.set_read_limit(PATIENCE)?;
                match connection.read(&mut [0]) {
                    Ok(0) => {}
                    // With something unread it is reset.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                    other => bail!("a stranger is not closed: {other:?}"),
                }
            }
            Step::AwaitPong => {
                let main = self.connection(MAIN)?.context("nobody listens")?;
                main.set_read_limit(PATIENCE)?;
                let mut pong = [0; 8];
                main.read_exact(&mut pong)?;
                ensure!(pong == [0, 2, 0, 4, 0, 0, 0, 7], "another answer: {pong:?}");
            }
        }
        Ok(())
    }

    /// A connection; `None` if nobody listens any more, for all that belongs to a migration is there.
    fn connection(&mut self, connection: Connection) -> Result<Option<&mut S>> {
        let new = match self.connections.contains_key(&connection) {
            true => None,
            false => match (self.connect)() {
                Err(error) if is_refused(error.kind()) => return Ok(None),
                new => Some(new?),
            },
        };
        self.connections.extend(new.map(|new| (connection, new)));
        Ok(self.connections.get_mut(&connection))
    }

    /// Keeps all connections until the command has closed the main one, if it is there, or has said its last word.
    pub(crate) fn wait_main(&mut self) -> Result<()> {
        let Some(main) = self.connections.get_mut(&MAIN) else {
            return Ok(());
        };
        main.set_read_limit(PATIENCE)?;
        let mut said = Vec::new();
        let mut room = [0; 64];
        while !said.ends_with(&SHUT_1) && !said.ends_with(&SHUT_0) {
            match main.read(&mut room) {
                Ok(0) => break,
                Ok(got) => said.extend(room.iter().take(got)),
                Err(error) if is_tick(error.kind()) => bail!("it goes on"),
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Keeps all connections until the command has ended, or has said on the main connection that it has failed or
    /// succeeded, and has closed it. Looks at its memory meanwhile.
    fn wait(&mut self, running: &mut Running, memory: &mut u64) -> Result<()> {
        let process = running.id();
        let mut main = self.connections.get_mut(&MAIN);
        let mut room = [0; 64];
        let start = Instant::now();
        while running.is_running()? {
            if start.elapsed() > PATIENCE {
                bail!("it goes on: {:#?}", running.kill()?);
            }
            *memory = peak(process).unwrap_or(0).max(*memory);
            let Some(connection) = &mut main else {
                std::thread::sleep(TICK);
                continue;
            };
            connection.set_read_limit(TICK)?;
            match connection.read(&mut room) {
                Ok(got) => {
                    let refused = room.get(..got).is_some_and(|said| said.ends_with(&SHUT_1));
                    if refused || got == 0 {
                        return Ok(());
                    }
                }
                Err(error) if is_tick(error.kind()) => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

fn is_refused(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

fn is_tick(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Most memory that a process has had, in MiB; nothing once it has ended.
pub(crate) fn peak(process: u32) -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib.context("no VmHWM")?.parse()?;
    Ok(kib.div_ceil(1024))
}

/// A destination's last word when it has failed.
const SHUT_1: [u8; 8] = [0, 1, 0, 4, 0, 0, 0, 1];

/// Its last word when it has everything.
const SHUT_0: [u8; 8] = [0, 1, 0, 4, 0, 0, 0, 0];

/// More than a command takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the process is looked at.
const TICK: Duration = Duration::from_millis(20);
