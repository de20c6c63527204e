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

use crate::engine::control::Gate;

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
    candidates: usize,
    /// When the first one of the source's was known.
    first: Option<Instant>,
    strangers: Strangers,
}

/// A connection that has a thread. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    arrivals: Arc<Arrivals>,
    is_candidate: bool,
}

impl Arrivals {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            known: Gate::new(),
            state: Mutex::default(),
        })
    }

    /// A place for a new connection; `None` if there are too many of which nothing is known.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let free = |state: &State| state.candidates < MOST_CANDIDATES;
        self.seat_if(free)
    }

    /// A place for a connection that comes after a failure; `None` if there are more than a source has.
    pub(super) fn seat_to_linger(self: &Arc<Self>) -> Option<Seat> {
        self.seat_if(|state| state.open < MOST_CONNECTIONS)
    }

    fn seat_if(self: &Arc<Self>, is_free: impl Fn(&State) -> bool) -> Option<Seat> {
        let mut state = self.state.lock();
        is_free(&state).then(|| {
            state.open += 1;
            state.candidates += 1;
            Seat {
                arrivals: Arc::clone(self),
                is_candidate: true,
            }
        })
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
    /// The connection is the source's.
    pub(super) fn set_known(&mut self) {
        let mut state = self.arrivals.state.lock();
        if std::mem::take(&mut self.is_candidate) {
            state.candidates -= 1;
        }
        state.first.get_or_insert_with(Instant::now);
        drop(state);
        self.arrivals.known.open();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.arrivals.state.lock();
        state.open -= 1;
        if self.is_candidate {
            state.candidates -= 1;
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

/// Most connections at once of which nothing is known: all that a source can make at once, and some
/// strangers beside them. The newest is closed when there are more.
pub(super) const MOST_CANDIDATES: usize = MOST_CONNECTIONS + 64;

/// The main one and 255 channels: no source has more.
const MOST_CONNECTIONS: usize = 256;
