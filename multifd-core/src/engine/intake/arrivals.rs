// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which connections are the source's, and which are strangers'.
//!
//! Anybody may connect to a port: a health check, a port scan, a client of something else. Until a
//! connection has shown that it is of a migration, nothing about it fails one. It is closed, and counted.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel as queue;
use parking_lot::Mutex;

use super::candidates::Candidates;
use crate::engine::control::Gate;
use crate::transport::Transport;

/// Connections that were closed because they were not the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Strangers {
    /// How many.
    pub count: u64,
    /// Why the last one was closed, as a half sentence about it.
    pub last: Option<String>,
}

/// The connections of an intake, as far as it is known what they are.
#[derive(Debug)]
pub(super) struct Arrivals {
    known: Gate,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Connections that have a thread.
    open: usize,
    /// Those of them that have not said yet what they are.
    candidates: Candidates,
    /// When the first one of the source's was known.
    first: Option<Instant>,
    strangers: Strangers,
}

/// A connection that has a thread. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    arrivals: Arc<Arrivals>,
    /// Its number while it is one of them.
    candidate: Option<u64>,
}

impl Arrivals {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            known: Gate::new(),
            state: Mutex::default(),
        })
    }

    /// A place for a new connection, for which another one of which nothing is known may have to give way; `None` if
    /// there are too many that do so.
    pub(super) fn seat(self: &Arc<Self>, connection: &dyn Transport) -> Option<Seat> {
        let mut state = self.state.lock();
        let number = state
            .candidates
            .add(connection.interrupter(), connection.is_open())?;
        Some(self.take(&mut state, Some(number)))
    }

    /// A place for a connection that comes after a failure; `None` if there are more than a source has.
    pub(super) fn seat_to_linger(self: &Arc<Self>) -> Option<Seat> {
        let mut state = self.state.lock();
        (state.open < MOST_CONNECTIONS).then(|| self.take(&mut state, None))
    }

    fn take(self: &Arc<Self>, state: &mut State, candidate: Option<u64>) -> Seat {
        state.open += 1;
        Seat {
            arrivals: Arc::clone(self),
            candidate,
        }
    }

    /// Counts a connection that was closed.
    pub(super) fn refuse(&self, why: impl fmt::Display) {
        let why = why.to_string();
        let mut state = self.state.lock();
        let strangers = &mut state.strangers;
        strangers.count += 1;
        let count = strangers.count;
        strangers.last = Some(why.clone());
        drop(state);
        // Whoever knocks without end does not fill the log.
        let level = match count.is_power_of_two() {
            true => log::Level::Warn,
            false => log::Level::Debug,
        };
        log::log!(
            level,
            "closed a connection that is not the source's ({count} so far): {why}"
        );
    }

    /// Closed once a connection of the source's is known: to be selected on.
    pub(super) fn known(&self) -> &queue::Receiver<Infallible> {
        self.known.opened()
    }

    /// When the first connection of the source's was known.
    pub(super) fn first(&self) -> Option<Instant> {
        self.state.lock().first
    }

    pub(super) fn strangers(&self) -> Strangers {
        self.state.lock().strangers.clone()
    }
}

impl Seat {
    /// What comes before the first byte is done.
    pub(super) fn set_open(&self) {
        if let Some(number) = self.candidate {
            self.arrivals.state.lock().candidates.set_open(number);
        }
    }

    /// The connection has said what it is, or will not: it does not give way to others any more. Returns false if it
    /// has had to.
    pub(super) fn keep(&mut self) -> bool {
        let Some(number) = self.candidate else {
            return true;
        };
        let kept = self.arrivals.state.lock().candidates.remove(number);
        if kept {
            self.candidate = None;
        }
        kept
    }

    /// The connection is the source's.
    pub(super) fn set_known(&self) {
        let mut state = self.arrivals.state.lock();
        state.first.get_or_insert_with(Instant::now);
        drop(state);
        self.arrivals.known.open();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.arrivals.state.lock();
        state.open -= 1;
        if let Some(number) = self.candidate
            && !state.candidates.remove(number)
        {
            state.candidates.left();
        }
    }
}

/// What is added to an error for which they may be the reason; nothing if there were none.
impl fmt::Display for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(last) = &self.last else {
            return Ok(());
        };
        match self.count {
            1 => write!(f, "; one other connection was closed: {last}"),
            count => write!(
                f,
                "; {count} other connections were closed, the last one because {last}"
            ),
        }
    }
}

/// The main one and 255 channels: no source has more.
const MOST_CONNECTIONS: usize = 256;
