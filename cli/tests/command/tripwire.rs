// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Somebody between a source and a destination, who kills one of them when so much has been said.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Passes all connections of a migration on.
pub(crate) struct Tripwire {
    address: String,
    wire: Arc<Wire>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The source, on all its connections.
    There,
    /// The destination: the return path.
    Back,
}

/// The byte, counted from 1, behind which the kill comes.
pub(crate) type Moment = (Way, u64);

struct Wire {
    moment: Option<Moment>,
    victim: OnceLock<Pid>,
    said: Mutex<Said>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// Bytes from the source.
    pub(crate) there: u64,
    /// Bytes from the destination.
    pub(crate) back: u64,
    /// Whether the moment has come.
    pub(crate) has_killed: bool,
}

impl Tripwire {
    /// Listens at 127.0.0.1, for connections to `to`. Without a moment nobody is killed.
    pub(crate) fn start(to: &str, moment: Option<Moment>) -> Result<Self> {
        let to = to.strip_prefix("tcp:").context("wanted tcp:")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("tcp:{}", listener.local_addr()?);
        let wire = Arc::new(Wire {
            moment,
            victim: OnceLock::new(),
            said: Mutex::default(),
        });
        let shared = Arc::clone(&wire);
        // It ends with the process that tests.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // The destination may have been killed.
                if let Ok(server) = TcpStream::connect(&to) {
                    shared.connect(&client, &server);
                }
            }
        });
        Ok(Self { address, wire })
    }

    /// Where a source connects.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whom to kill. Nothing is passed on before that is known.
    pub(crate) fn set_victim(&self, process: u32) -> Result<()> {
        let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
        self.wire.victim.get_or_init(|| pid.unwrap_or(Pid::INIT));
        pid.map(drop).context("no process")
    }

    pub(crate) fn said(&self) -> Said {
        *self.wire.lock()
    }
}

impl Wire {
    fn connect(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) {
        for (way, from, to) in [(Way::There, client, server), (Way::Back, server, client)] {
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
                return;
            };
            let wire = Arc::clone(self);
            thread::spawn(move || wire.pass_on(way, from, to));
        }
    }

    fn pass_on(&self, way: Way, mut from: TcpStream, mut to: TcpStream) {
        let victim = *self.victim.wait();
        let mut room = vec![0; 16 << 10];
        while let Ok(count) = from.read(&mut room) {
            if count == 0 {
                break;
            }
            let kills_behind = self.count(way, count);
            let said = room.get(..count).unwrap_or_default();
            let (first, rest) = said.split_at(kills_behind.unwrap_or(count));
            let mut is_sent = to.write_all(first).is_ok();
            if kills_behind.is_some() {
                let _ = kill_process(victim, Signal::KILL);
            }
            is_sent &= to.write_all(rest).is_ok();
            if !is_sent {
                // Whoever speaks has to hear that nobody listens.
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Counts so many bytes more; returns behind how many of them the kill comes, if it does.
    fn count(&self, way: Way, bytes: usize) -> Option<usize> {
        let mut said = self.lock();
        let sum = match way {
            Way::There => &mut said.there,
            Way::Back => &mut said.back,
        };
        let before = *sum;
        *sum += bytes as u64;
        let (of, at) = self.moment?;
        let behind = at
            .checked_sub(before)
            .filter(|behind| *behind <= bytes as u64)?;
        if of != way || said.has_killed {
            return None;
        }
        said.has_killed = true;
        usize::try_from(behind).ok()
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
