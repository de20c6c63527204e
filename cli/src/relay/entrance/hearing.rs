// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that say what they are only under TLS, each heard by a thread.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use multifd_core::memory::IoVecMut;
use multifd_core::transport::{Interrupt, SocketTransport, Transport};

use super::said::{ENOUGH, MOST, Said};
use crate::net::listen::Waker;
use crate::net::tls::ServerSide;

/// Threads that shake hands and hear what connections say.
#[derive(Clone)]
pub(super) struct Hearings {
    tls: ServerSide,
    /// For all of it.
    limit: Duration,
    waker: Waker,
    count: Arc<AtomicUsize>,
}

/// A connection that a thread receives the first bytes of. Dropped before it has said what it is, it is interrupted.
pub(super) struct Hearing {
    heard: Arc<Mutex<Heard>>,
    interrupter: Arc<dyn Interrupt>,
}

/// What a thread has heard by now.
struct Heard {
    said: Said,
    /// Why there is no more.
    error: Option<io::Error>,
    /// Once it has said what it is.
    introduced: Option<Introduced>,
}

/// A connection that has said what it is.
pub(super) struct Introduced {
    pub(super) connection: Box<dyn Transport>,
    /// Its first bytes.
    pub(super) start: Vec<u8>,
}

impl Hearings {
    /// Threads that wake a listener, and have `limit` for each connection.
    pub(super) fn new(tls: ServerSide, limit: Duration, waker: Waker) -> Self {
        Self {
            tls,
            limit,
            waker,
            count: Arc::default(),
        }
    }

    /// From now on shows and wants other certificates.
    pub(super) fn set_tls(&mut self, tls: ServerSide) {
        self.tls = tls;
    }

    /// Shakes hands with a connection, and hears what it says.
    ///
    /// # Errors
    /// Too many are there that were dropped and have not ended yet, or the system has no thread left: why the connection was closed.
    pub(super) fn begin(&self, connection: SocketTransport) -> Result<Hearing, String> {
        let hearer = self.clone();
        if self.count.fetch_add(1, Ordering::AcqRel) >= 2 * MOST {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(format!("{MOST} others had not identified themselves"));
        }
        let interrupter = connection.interrupter();
        let heard = Arc::new(Mutex::new(Heard {
            said: Said::Handshake,
            error: None,
            introduced: None,
        }));
        let slot = Arc::clone(&heard);
        let started = thread::Builder::new()
            .name("relay-hears".into())
            .spawn(move || {
                if let Err(error) = hearer.hear(connection, &slot) {
                    let mut heard = lock(&slot);
                    heard.said = Said::End;
                    heard.error = Some(silent(error, hearer.limit));
                }
                hearer.count.fetch_sub(1, Ordering::AcqRel);
                hearer.waker.wake();
            });
        match started {
            Ok(_) => Ok(Hearing { heard, interrupter }),
            Err(error) => {
                self.count.fetch_sub(1, Ordering::AcqRel);
                Err(format!("no thread could be started: {error}"))
            }
        }
    }

    /// Shakes hands, and receives until it is known what the connection is.
    fn hear(&self, connection: SocketTransport, slot: &Mutex<Heard>) -> io::Result<()> {
        let begin = Instant::now();
        let mut connection = self.tls.shake_hands(connection)?;
        lock(slot).said = Said::Nothing;
        let mut start = Vec::new();
        loop {
            let said = Said::from_bytes(&start);
            let is_known = !said.is_too_little();
            let mut heard = lock(slot);
            heard.said = said;
            if is_known {
                connection.set_time_limit(None);
                heard.introduced = Some(Introduced { connection, start });
                return Ok(());
            }
            drop(heard);
            self.waker.wake();
            let left = self.limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            connection.set_time_limit(Some(left));
            receive(&mut *connection, &mut start)?;
        }
    }
}

/// Receives what comes next, up to as much as tells what a connection is.
fn receive(connection: &mut dyn Transport, start: &mut Vec<u8>) -> io::Result<()> {
    let mut room = [0; ENOUGH];
    let room = room.get_mut(start.len()..).unwrap_or_default();
    match connection.recv(&mut [IoVecMut::from(&mut *room)])? {
        0 => {
            let what = "it ended without a word";
            Err(io::Error::new(io::ErrorKind::UnexpectedEof, what))
        }
        count => {
            start.extend(room.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}

/// An error of a connection that had `limit` to say what it is.
fn silent(error: io::Error, limit: Duration) -> io::Error {
    if error.kind() != io::ErrorKind::TimedOut {
        return error;
    }
    let what = format!("it said nothing for {} s", limit.as_secs_f32());
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl Hearing {
    pub(super) fn said(&self) -> Said {
        lock(&self.heard).said
    }

    pub(super) fn why(&self) -> Option<String> {
        lock(&self.heard).error.as_ref().map(ToString::to_string)
    }

    pub(super) fn has_ended(&self) -> bool {
        let heard = lock(&self.heard);
        let introduced = heard.introduced.as_ref();
        introduced.map_or(heard.error.is_some(), |introduced| {
            introduced.connection.has_ended()
        })
    }

    pub(super) fn into_introduced(self) -> Option<Introduced> {
        lock(&self.heard).introduced.take()
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        if self.said().is_too_little() {
            self.interrupter.interrupt();
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
