//! Which connections belong together.
//!
//! Nothing on the wire says to which migration a connection belongs. But a source makes its main
//! connection first, then its channels, and says something on the main connection when all of them are
//! made. So the connections of one peer are taken in the order in which they were accepted: a main
//! connection, and so many channels behind it. A channel where a main connection should be belongs to a
//! source that is set to more channels than this side. Over TLS it is the order in which they have shaken hands:
//! whoever does not is in nobody's way.
//!
//! Where there is only one migration, all connections belong to it, in whatever order they come.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use multifd_core::transport::Transport;

use super::candidate::{Candidate, Class};
use super::hearing::{Hearings, Met};
use super::line::{Arrival, Line, Waiting};
use super::turned_away::TurnedAway;
use crate::net::listen::Listener;
use crate::net::peer::Peer;
use crate::net::tls::ServerSide;

/// The listener, and connections that have no migration yet.
pub(super) struct Entrance {
    listener: Listener,
    tls: ServerSide,
    hearings: Hearings,
    lines: HashMap<Peer, Line>,
    /// Connections of a migration: the main one and the channels.
    connections: usize,
    /// How long a connection may not say what it is.
    limit: Duration,
    taking: Taking,
    turned_away: TurnedAway,
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

impl Entrance {
    /// For several migrations of so many `connections`.
    pub(super) fn several(
        (listener, tls): (Listener, ServerSide),
        connections: usize,
        limit: Duration,
    ) -> Self {
        Self {
            hearings: Hearings::new(tls.clone(), limit, listener.waker()),
            listener,
            tls,
            lines: HashMap::new(),
            connections,
            limit,
            taking: Taking::Several,
            turned_away: TurnedAway::default(),
        }
    }

    /// For one migration, which knows by itself when there are too many connections.
    pub(super) fn one(listener: (Listener, ServerSide), limit: Duration) -> Self {
        Self {
            taking: Taking::One,
            ..Self::several(listener, usize::MAX, limit)
        }
    }

    /// The only migration has all of its connections.
    pub(super) fn stop_at_one(&mut self) {
        if self.taking == Taking::One {
            self.taking = Taking::None;
        }
    }

    /// Waits until there may be something to do, or somebody has called the listener's waker.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let mut deadline = None;
        let mut heads = Vec::new();
        for head in self.lines.values().filter_map(Line::unknown_head) {
            // Whoever hears the others wakes the listener.
            let Candidate::Socket(socket) = &head.connection else {
                continue;
            };
            let end = head.since + self.limit;
            deadline = Some(deadline.map_or(end, |deadline: Instant| deadline.min(end)));
            match socket.peek(&mut [0; 4]) {
                // A part of the magic would wake at once, again and again.
                Ok(Some(_)) => deadline = Some(Instant::now() + PAUSE),
                _ => heads.push(socket.as_fd()),
            }
        }
        let limit = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        self.listener.wait_beside(&heads, limit)?;
        Ok(())
    }

    /// Takes all connections that are there. Answers those that belong to a migration, and where one
    /// is to be started; then `open` has to be called before this is called again.
    pub(super) fn arrivals(&mut self, may_start: bool) -> io::Result<Vec<Arrival>> {
        while let Some((connection, peer)) = self.listener.accept_from()? {
            let taken = match self.taking {
                Taking::Several if self.tls.is_on() => self.hearings.begin(connection, peer),
                Taking::Several => {
                    self.line_up(peer, Candidate::Socket(connection), Class::Unknown);
                    Ok(())
                }
                Taking::One => {
                    let only = Candidate::Socket(connection);
                    self.line_up(Peer::Somebody, only, Class::Main);
                    Ok(())
                }
                Taking::None => Err("only --keep-listening takes more than one migration".into()),
            };
            if let Err(why) = taken {
                self.turned_away.add(peer, why);
            }
        }
        while let Some(Met { peer, hearing }) = self.hearings.met() {
            match hearing {
                Ok(hearing) => self.line_up(peer, Candidate::Heard(hearing), Class::Unknown),
                Err(why) => self.turned_away.add(peer, why),
            }
        }
        let mut arrivals = Vec::new();
        for (peer, line) in &mut self.lines {
            let rules = (self.limit, &self.tls);
            line.sort(*peer, rules, &mut self.turned_away, &mut arrivals);
        }
        if may_start {
            let ready = self.lines.iter().find(|(_, line)| line.is_ready());
            arrivals.extend(ready.map(|(peer, _)| Arrival::Start(*peer)));
        }
        self.lines.retain(|_, line| !line.is_empty());
        Ok(arrivals)
    }

    fn line_up(&mut self, peer: Peer, connection: Candidate, class: Class) {
        let line = self.lines.entry(peer).or_default();
        line.waiting.push_back(Waiting {
            connection,
            since: Instant::now(),
            class,
        });
    }

    /// Closes a channel that is of none of its peer's migrations.
    pub(super) fn turn_away(&mut self, peer: Peer, channel: Box<dyn Transport>) {
        drop(channel);
        let why = "it is a channel, of a migration that has all of its channels or of none";
        self.turned_away.add(peer, why);
    }

    /// The next connections of a peer belong to this migration.
    pub(super) fn open(&mut self, peer: Peer, number: usize) {
        let line = self.lines.entry(peer).or_default();
        line.open = Some((number, self.connections));
    }

    /// A migration takes no more connections.
    pub(super) fn close(&mut self, number: usize) {
        for line in self.lines.values_mut() {
            line.open.take_if(|(open, _)| *open == number);
        }
    }

    /// Whether no connection of a peer waits of which nothing is known.
    pub(super) fn is_sorted(&self, peer: Peer) -> bool {
        let line = self.lines.get(&peer);
        line.is_none_or(|line| line.unknown_head().is_none())
    }
}

/// Until more of four bytes has come.
const PAUSE: Duration = Duration::from_millis(10);
