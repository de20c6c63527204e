//! The connections of one peer that have no migration yet, in the order in which they were accepted.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use multifd_core::transport::SocketTransport;
use multifd_core::wire::{MAIN_MAGIC, MULTIFD_MAGIC};

use super::turned_away::TurnedAway;
use crate::net::peer::Peer;

/// The connections of one peer.
#[derive(Default)]
pub(super) struct Line {
    pub(super) waiting: VecDeque<Waiting>,
    /// The migration that gets the next ones, and how many.
    pub(super) open: Option<(usize, usize)>,
}

pub(super) struct Waiting {
    pub(super) connection: SocketTransport,
    pub(super) since: Instant,
    pub(super) class: Class,
}

/// What is to be done with a connection.
pub(super) enum Arrival {
    /// It starts a migration, which is to be opened by a number.
    Start(Peer),
    /// It is of the migration with this number.
    Of(usize, SocketTransport),
    /// It is a channel of a migration of this peer that has all of its channels.
    Surplus(Peer, SocketTransport),
}

impl Line {
    /// Takes from the front what belongs to a migration, or to none.
    pub(super) fn sort(
        &mut self,
        peer: Peer,
        limit: Duration,
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
                arrivals.push(Arrival::Of(number, next.connection));
                continue;
            }
            let Some(head) = self.waiting.front_mut() else {
                return;
            };
            if head.class == Class::Unknown {
                head.class = classify(&head.connection);
            }
            match head.class {
                Class::Main => return,
                Class::Unknown if head.since.elapsed() < limit => return,
                class => {
                    let head = self.waiting.pop_front();
                    match (class, head) {
                        (Class::Channel, Some(head)) => {
                            arrivals.push(Arrival::Surplus(peer, head.connection));
                        }
                        (Class::Other(start), _) => turned_away.add(
                            peer,
                            format_args!("it began with \"{}\"", start.escape_ascii()),
                        ),
                        (Class::Closed, _) => turned_away.add(peer, "it ended without a word"),
                        _ => {
                            let seconds = limit.as_secs_f32();
                            let why = format_args!("it said nothing for {seconds} s");
                            turned_away.add(peer, why);
                        }
                    }
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

/// The first bytes of a connection say what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Main,
    Channel,
    /// It is of no migration.
    Other([u8; 4]),
    /// It is closed.
    Closed,
    /// Too few bytes have come.
    Unknown,
}

/// Looks at the first bytes of a connection.
fn classify(connection: &SocketTransport) -> Class {
    let mut magic = [0; 4];
    match connection.peek(&mut magic) {
        Ok(None | Some(1..=3)) => Class::Unknown,
        Ok(Some(4)) => match u32::from_be_bytes(magic) {
            MAIN_MAGIC => Class::Main,
            MULTIFD_MAGIC => Class::Channel,
            _ => Class::Other(magic),
        },
        Ok(_) | Err(_) => Class::Closed,
    }
}
