// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where sources connect, and which of their connections belong together.
//!
//! For the only migration of a relay all connections are its own: it knows strangers by itself. Where there may be
//! several, connections wait until [what they say](said) tells [which belong together](pairing).

mod candidate;
mod candidates;
mod clock;
mod crowd;
mod group;
mod hearing;
mod hopeless;
mod index;
mod outside;
mod pairing;
#[cfg(test)]
mod pairing_tests;
mod queue;
mod readiness;
mod refusal;
mod said;
mod seen;
mod waiting;

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::wire::Uuid;
use rustix::io::Errno;

use super::turned_away::TurnedAway;
use crate::net::allowed::Allowed;
use crate::net::listen::Listener;
use crate::net::peer::Peer;
use crate::net::tls::ServerSide;
use candidate::Candidate;
use crowd::{Crowd, Decision};
use hearing::Hearings;
pub(super) use outside::Outside;
pub(super) use queue::Party;
use queue::Queue;
pub(super) use refusal::Refusal;
use waiting::Stranger;

/// The listener, and connections that have no migration yet.
pub(super) struct Entrance {
    listener: Listener,
    tls: ServerSide,
    hearings: Hearings,
    crowd: Crowd,
    queue: Queue,
    /// Whether migrations have begun since the crowd was looked at.
    is_begun: bool,
    /// How long a connection may not say what it is.
    limit: Duration,
    taking: Taking,
    turned_away: TurnedAway,
    /// When sources were refused of late.
    told: Vec<Instant>,
}

/// Which connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    /// Those of several migrations.
    Several,
    /// All, for the only migration.
    One,
    /// No more: the only migration has all that it needs.
    None,
}

/// What is to be done with connections.
pub(super) enum Arrival {
    /// One is for the only migration.
    Only(Box<dyn Transport>),
    /// It is a channel more than a migration under way has.
    Surplus(Uuid, Peer, Box<dyn Transport>),
    /// They were closed, and are a migration that has failed.
    Refused(Refusal),
}

impl Entrance {
    /// For several migrations of so many `channels`.
    pub(super) fn several(
        (listener, tls): (Listener, ServerSide),
        channels: usize,
        limit: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            hearings: Hearings::new(tls.clone(), limit, listener.waker()),
            listener,
            tls,
            crowd: Crowd::new(channels, limit, limit.min(IN_DOUBT))?,
            queue: Queue::default(),
            is_begun: false,
            limit,
            taking: Taking::Several,
            turned_away: TurnedAway::default(),
            told: Vec::new(),
        })
    }

    /// For one migration, which knows by itself when there are too many connections.
    pub(super) fn one(listener: (Listener, ServerSide), limit: Duration) -> io::Result<Self> {
        Ok(Self {
            taking: Taking::One,
            ..Self::several(listener, 0, limit)?
        })
    }

    /// The only migration has all of its connections.
    pub(super) fn stop_at_one(&mut self) {
        if self.taking == Taking::One {
            self.taking = Taking::None;
        }
    }

    /// Takes no more connections, and closes those that have no migration.
    pub(super) fn stop(&mut self) {
        self.listener.stop();
        self.crowd.clear();
        self.queue = Queue::default();
    }

    /// The first of those that have no migration yet, and how many there are.
    pub(super) fn outside(&self) -> (Vec<Outside>, usize) {
        let (queued, waiting) = (self.queue.outside(), self.crowd.outside());
        let count = self.queue.len() + self.crowd.len();
        (queued.chain(waiting).take(MOST_SHOWN).collect(), count)
    }

    /// From now on other certificates are shown and wanted.
    pub(super) fn set_tls(&mut self, tls: ServerSide) {
        self.hearings.set_tls(tls.clone());
        self.tls = tls;
    }

    /// From now on closes the connections of others at once.
    pub(super) fn take_only(&mut self, allowed: Allowed) {
        self.listener.take_only(allowed);
    }

    /// Waits until there may be something to do, or somebody has called the listener's waker, or for `limit`.
    pub(super) fn wait(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let due = self.crowd.due();
        let due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let limit = due.into_iter().chain(limit).min();
        // Channels may be there that are of who has just begun.
        let limit = if self.is_begun {
            Some(Duration::ZERO)
        } else {
            limit
        };
        // Whoever hears what comes under TLS wakes the listener.
        self.listener.wait_beside(&[self.crowd.as_fd()], limit)?;
        Ok(())
    }

    /// Takes all connections that are there, as far as there is room. A migration of a guest, from a peer, `takes` those that
    /// may be its own; there `will_be_room` once those under way have ended.
    ///
    /// # Errors
    /// The listener is lost.
    pub(super) fn arrivals(
        &mut self,
        takes: &dyn Fn(Uuid, Peer) -> bool,
        will_be_room: bool,
    ) -> io::Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        while let Some((connection, peer)) = self.accept()? {
            if let Some((peer, why)) = self.crowd.drop_least() {
                self.turned_away.add(peer, why);
            }
            match self.taking {
                Taking::Several => {
                    let candidate = match self.tls.is_on() {
                        true => self.hearings.begin(connection).map(Candidate::Heard),
                        false => Ok(Candidate::Socket(connection)),
                    };
                    let added = candidate.and_then(|candidate| {
                        let added = self.crowd.add(candidate, peer);
                        added.map_err(|error| format!("it cannot be used: {error}"))
                    });
                    if let Err(why) = added {
                        self.turned_away.add(peer, why);
                    }
                }
                Taking::One => arrivals.push(Arrival::Only(self.tls.accept(connection))),
                Taking::None => {
                    let why = "only --keep-listening takes more than one migration";
                    self.turned_away.add(peer, why);
                }
            }
        }
        if self.taking == Taking::Several {
            let is_full = self.listener.is_full();
            self.crowd.set_closed(is_full && will_be_room);
            self.sort(takes, &mut arrivals)?;
        }
        Ok(arrivals)
    }

    /// Whether all connections are known that a migration may have which has said so at `then`.
    pub(super) fn is_sorted(&self, then: Instant) -> bool {
        self.crowd.is_sorted(then)
    }

    /// Takes the next guest that is not of one that `is_under_way`, with what it gets to `start` with.
    pub(super) fn next_guest<T>(
        &mut self,
        is_under_way: impl Fn(Uuid) -> bool,
        start: impl FnOnce() -> Option<T>,
    ) -> Option<(Party, T)> {
        let next = self.queue.next(is_under_way, start);
        self.is_begun |= next.is_some();
        next
    }

    fn sort(
        &mut self,
        takes: &dyn Fn(Uuid, Peer) -> bool,
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        self.crowd.listen()?;
        for (peer, stranger) in self.crowd.take_strangers() {
            self.turn_away(peer, stranger);
        }
        let is_begun = std::mem::take(&mut self.is_begun);
        let surplus = self.crowd.take_surplus(is_begun, takes);
        arrivals.extend(
            surplus
                .into_iter()
                .map(|(uuid, peer, channel)| Arrival::Surplus(uuid, peer, channel)),
        );
        match self.crowd.decide() {
            Decision::Guests(parties) => {
                for party in parties {
                    if let Some(least) = self.queue.push(party) {
                        let why = "too many other guests waited for their turn";
                        self.turned_away.add(least.peer, why);
                    }
                }
            }
            Decision::Hopeless(refusals) => {
                for refusal in refusals {
                    self.refuse(refusal, arrivals);
                }
            }
        }
        Ok(())
    }

    /// A source is told of as a migration; who only knocks, or comes too often, as a stranger.
    fn refuse(&mut self, refusal: Refusal, arrivals: &mut Vec<Arrival>) {
        self.told.retain(|told| told.elapsed() < WHILE);
        if refusal.is_source && self.told.len() < MOST_TOLD {
            self.told.push(Instant::now());
            arrivals.push(Arrival::Refused(refusal));
        } else {
            self.turned_away.add(refusal.peer, refusal.why);
        }
    }

    /// Accepts a connection. One that cannot be used is closed: it is not the others' matter.
    fn accept(&mut self) -> io::Result<Option<(SocketTransport, Peer)>> {
        match self.listener.accept_from() {
            Err(error) if self.taking == Taking::Several && !is_lost(&error) => {
                self.turned_away
                    .add(Peer::Somebody, format_args!("it cannot be used: {error}"));
                Ok(None)
            }
            result => result,
        }
    }

    fn turn_away(&mut self, peer: Peer, stranger: Stranger) {
        match stranger {
            Stranger::Other([TLS_HANDSHAKE, ..]) if !self.tls.is_on() => {
                let why = "it is a TLS client, and TLS is off here: --in tls-creds=DIR";
                self.turned_away.add(peer, why);
            }
            Stranger::Other(start) => {
                let why = format_args!("it began with \"{}\"", start.escape_ascii());
                self.turned_away.add(peer, why);
            }
            Stranger::Ended(why) => {
                let why = why.unwrap_or_else(|| "it ended without a word".to_owned());
                self.turned_away.add(peer, why);
            }
            Stranger::Silent => {
                let why = format_args!("it said nothing for {} s", self.limit.as_secs_f32());
                self.turned_away.add(peer, why);
            }
        }
    }
}

/// Whether it is an error of the listener itself.
fn is_lost(error: &io::Error) -> bool {
    let lost = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP];
    lost.iter()
        .any(|lost| error.raw_os_error() == Some(lost.raw_os_error()))
}

/// Most sources that are told of as refused within a while: whoever knocks without end does not fill the log.
const MOST_TOLD: usize = 256;
const WHILE: Duration = Duration::from_secs(10);
/// Most connections that are shown to whoever asks: there may be many, and this is made out each time that there is
/// something to do.
const MOST_SHOWN: usize = 64;
/// What TLS begins with.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long connections may be a guest only in part, or in doubt.
const IN_DOUBT: Duration = Duration::from_secs(10);
