//! The connections of one peer that have no migration yet, in the order in which they were accepted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use multifd_core::transport::Transport;

use super::candidate::{Candidate, Class};
use super::turned_away::TurnedAway;
use crate::net::peer::Peer;
use crate::net::tls::ServerSide;

/// The connections of one peer.
#[derive(Default)]
pub(super) struct Line {
    pub(super) waiting: VecDeque<Waiting>,
    /// The migration that gets the next ones, and how many.
    pub(super) open: Option<(usize, usize)>,
}

pub(super) struct Waiting {
    pub(super) connection: Candidate,
    pub(super) since: Instant,
    pub(super) class: Class,
}

/// What is to be done with a connection.
pub(super) enum Arrival {
    /// It starts a migration, which is to be opened by a number.
    Start(Peer),
    /// It is of the migration with this number.
    Of(usize, Box<dyn Transport>),
    /// It is a channel of a migration of this peer that has all of its channels.
    Surplus(Peer, Box<dyn Transport>),
}

impl Line {
    /// Takes from the front what belongs to a migration, or to none.
    pub(super) fn sort(
        &mut self,
        peer: Peer,
        (limit, tls): (Duration, &ServerSide),
        turned_away: &mut TurnedAway,
        arrivals: &mut Vec<Arrival>,
    ) {
        loop {
            if let Some((number, left)) = self.open.take() {
                let Some(next) = self.waiting.pop_front() else {
                    self.open = Some((number, left));
                    return;
                };
                self.open = (left > 1).then(|| (number, left - 1));
                arrivals.push(Arrival::Of(number, next.connection.into_transport(tls)));
                continue;
            }
            let Some(head) = self.waiting.front_mut() else {
                return;
            };
            if head.class == Class::Unknown {
                head.class = head.connection.classify();
            }
            match head.class {
                Class::Main => return,
                Class::Unknown if head.since.elapsed() < limit => return,
                _ => {}
            }
            let Some(head) = self.waiting.pop_front() else {
                return;
            };
            match head.class {
                Class::Channel => {
                    let channel = head.connection.into_transport(tls);
                    arrivals.push(Arrival::Surplus(peer, channel));
                }
                Class::Other([TLS, ..]) => {
                    turned_away.add(peer, "it looks like TLS: --in tls-creds=DIR");
                }
                Class::Other(start) => {
                    let start = start.escape_ascii();
                    turned_away.add(peer, format_args!("it began with \"{start}\""));
                }
                Class::Closed => turned_away.add(peer, "it ended without a word"),
                Class::Failed(why) => turned_away.add(peer, why),
                Class::Main | Class::Unknown => {
                    let seconds = limit.as_secs_f32();
                    turned_away.add(peer, format_args!("it said nothing for {seconds} s"));
                }
            }
        }
    }

    /// Whether a migration can be started.
    pub(super) fn is_ready(&self) -> bool {
        let head = self.waiting.front();
        self.open.is_none() && head.is_some_and(|head| head.class == Class::Main)
    }

    /// The first connection, if it has not said what it is.
    pub(super) fn unknown_head(&self) -> Option<&Waiting> {
        let head = self.waiting.front();
        head.filter(|head| self.open.is_none() && head.class == Class::Unknown)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.is_none()
    }
}

/// The first byte of a handshake's record.
const TLS: u8 = 0x16;
