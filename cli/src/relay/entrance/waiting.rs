//! The connections that have no migration yet.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use multifd_core::transport::Transport;
use multifd_core::wire::{InitPacket, Uuid};

use super::candidate::Candidate;
use super::hopeless::Hopeless;
use super::pairing;
use super::refusal::Refusal;
use super::said::{MOST, Said};
use super::seen::Seen;
use crate::net::peer::Peer;

/// All of them, in the order in which they were accepted.
#[derive(Default)]
pub(super) struct Crowd {
    waiting: Vec<Waiting>,
    accepted: u64,
}

/// One connection.
pub(super) struct Waiting {
    pub(super) connection: Candidate,
    pub(super) peer: Peer,
    place: u64,
    said: Said,
    /// Since when it has said no more than that.
    since: Instant,
    /// See [`Seen::until`].
    until: u64,
}

/// All connections of a guest whose migration can begin.
pub(in crate::relay) struct Party {
    pub(in crate::relay) uuid: Uuid,
    pub(in crate::relay) main: Box<dyn Transport>,
    pub(in crate::relay) peer: Peer,
    /// By number.
    pub(in crate::relay) channels: Vec<Box<dyn Transport>>,
}

impl Crowd {
    pub(super) fn add(&mut self, connection: Candidate, peer: Peer) {
        self.waiting.push(Waiting {
            connection,
            peer,
            place: self.accepted,
            said: Said::Nothing,
            since: Instant::now(),
            until: self.accepted,
        });
        self.accepted += 1;
    }

    /// Takes the one that gives way to another, if there are too many that have not said yet what they are: the oldest
    /// that has not shaken hands, or else the oldest. A source does so within milliseconds.
    pub(super) fn take_least(&mut self) -> Option<Waiting> {
        if self.waiting.len() < MOST {
            return None;
        }
        let said = self.waiting.iter();
        let said = said.map(|waiting| (waiting.connection.said(), waiting.place));
        let unknown: Vec<_> = said.filter(|(said, _)| said.is_too_little()).collect();
        if unknown.len() < MOST {
            return None;
        }
        let closed = unknown.iter().find(|(said, _)| *said == Said::Handshake);
        let (_, place) = closed.or(unknown.first())?;
        self.take(*place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// Listens to all of them once.
    pub(super) fn listen(&mut self) {
        let last = self.accepted.saturating_sub(1);
        for waiting in &mut self.waiting {
            waiting.listen(last);
        }
    }

    /// Drops the channels of a source that has ended, once it comes again: they are not to be taken for its new ones.
    pub(super) fn drop_former(&mut self) {
        let former = |waiting: &Waiting| {
            let mut later = self
                .waiting
                .iter()
                .filter(|later| later.place > waiting.place);
            later.any(|later| later.said == waiting.said) && waiting.connection.has_ended()
        };
        let again = self.waiting.iter().filter(|waiting| former(waiting));
        let again: Vec<Uuid> = again
            .filter_map(|waiting| Some(waiting.channel()?.uuid))
            .collect();
        self.waiting.retain(|waiting| {
            let is_former = |uuid| again.contains(&uuid) && waiting.connection.has_ended();
            !waiting.channel().is_some_and(|init| is_former(init.uuid))
        });
    }

    /// Takes those that are no source's: they have ended, have begun with something else, or have been silent for
    /// `limit`.
    pub(super) fn take_strangers(&mut self, limit: Duration) -> Vec<(Peer, Stranger)> {
        let strangers = self
            .waiting
            .extract_if(.., |waiting| waiting.stranger(limit).is_some());
        strangers
            .filter_map(|waiting| Some((waiting.peer, waiting.stranger(limit)?)))
            .collect()
    }

    /// Takes guests all of whose connections are known, `most` of them at most, and none that `is_under_way`.
    pub(super) fn take_guests(
        &mut self,
        channels: usize,
        most: usize,
        is_under_way: impl Fn(Uuid) -> bool,
    ) -> Vec<Party> {
        let mut guests = pairing::guests(&self.seen(), channels);
        guests.sort_by_key(|guest| guest.main);
        let mut parties: Vec<Party> = Vec::new();
        for guest in guests {
            let is_twice =
                has_name(guest.uuid) && parties.iter().any(|party| party.uuid == guest.uuid);
            let waits = has_name(guest.uuid) && is_under_way(guest.uuid);
            if parties.len() == most || is_twice || waits {
                continue;
            }
            let Some(main) = self.take(guest.main) else {
                continue;
            };
            let peer = main.peer;
            let channels = guest.channels.iter();
            let channels =
                channels.filter_map(|place| self.take(*place)?.connection.into_transport());
            let channels = channels.collect();
            if let Some(main) = main.connection.into_transport() {
                parties.push(Party {
                    uuid: guest.uuid,
                    main,
                    peer,
                    channels,
                });
            }
        }
        parties
    }

    /// Takes channels with a number that there is no channel for, where a migration under way `takes` those of this guest
    /// and peer: its source has made more than it should.
    pub(super) fn take_surplus(
        &mut self,
        channels: usize,
        takes: impl Fn(Uuid, Peer) -> bool,
    ) -> Vec<(Uuid, Peer, Box<dyn Transport>)> {
        let is_taken = |waiting: &mut Waiting| {
            let uuid = waiting.surplus(channels);
            uuid.is_some_and(|uuid| takes(uuid, waiting.peer))
        };
        let taken = self.waiting.extract_if(.., is_taken);
        taken
            .filter_map(|waiting| {
                let uuid = waiting.surplus(channels)?;
                Some((uuid, waiting.peer, waiting.connection.into_transport()?))
            })
            .collect()
    }

    /// Takes what has waited for `limit`, so that nothing more is to come of it, and sources with too many channels. What is
    /// decided only waits for its turn.
    pub(super) fn take_hopeless(&mut self, channels: usize, limit: Duration) -> Vec<Refusal> {
        let old = self.waiting.iter();
        let old = old.filter(|waiting| waiting.since.elapsed() >= limit);
        let old: HashSet<u64> = old.map(|waiting| waiting.place).collect();
        let mut surplus = self
            .waiting
            .iter()
            .filter_map(|waiting| waiting.surplus(channels));
        if old.is_empty() && surplus.next().is_none() {
            return Vec::new();
        }
        let seen = self.seen();
        let decided = pairing::guests(&seen, channels);
        let is_decided = |place: u64| {
            let of =
                |guest: &pairing::Guest| guest.main == place || guest.channels.contains(&place);
            decided.iter().any(of)
        };
        let open: Vec<Seen> = seen
            .into_iter()
            .filter(|seen| !is_decided(seen.place))
            .collect();
        let hopeless = Hopeless::among(&open, channels, |seen| old.contains(&seen.place));
        let refusals = hopeless.refusals();
        let places = hopeless.places();
        self.waiting
            .retain(|waiting| !places.contains(&waiting.place));
        refusals
    }

    /// Whether none of a young connection is unknown that may belong to a migration which has said at `then` that all of
    /// its own are made. Others may come without end.
    pub(super) fn is_sorted(&self, then: Instant) -> bool {
        let may_belong = |waiting: &Waiting| {
            let since = waiting.since;
            since.saturating_duration_since(then) < GRACE && since.elapsed() < GRACE
        };
        let mut silent = self.waiting.iter().filter(|waiting| waiting.is_silent());
        !silent.any(may_belong)
    }

    fn take(&mut self, place: u64) -> Option<Waiting> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.place == place)?;
        Some(self.waiting.remove(at))
    }

    fn seen(&self) -> Vec<Seen> {
        self.waiting.iter().map(Waiting::seen).collect()
    }
}

/// Whether a UUID names a guest: that of a QEMU which was given none is all zero.
fn has_name(uuid: Uuid) -> bool {
    uuid != Uuid::default()
}

/// Why a connection is no source's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    Other([u8; 4]),
    /// Perhaps with the reason.
    Ended(Option<String>),
    Silent,
}

impl Waiting {
    fn listen(&mut self, last: u64) {
        let said = self.connection.said();
        if said != self.said {
            self.said = said;
            self.since = Instant::now();
        }
        // A channel's connection may be accepted a little later than what was said behind it is heard.
        if self.since.elapsed() < GRACE {
            self.until = last;
        }
    }

    fn stranger(&self, limit: Duration) -> Option<Stranger> {
        match self.said {
            Said::Other(start) => Some(Stranger::Other(start)),
            Said::End => Some(Stranger::Ended(self.connection.why())),
            said if said.is_too_little() && self.since.elapsed() >= limit => Some(Stranger::Silent),
            _ => None,
        }
    }

    /// The first packet of a channel.
    fn channel(&self) -> Option<InitPacket> {
        match self.said {
            Said::Channel(init) => Some(init),
            _ => None,
        }
    }

    /// The guest, if this is a channel that no migration of so many `channels` has.
    fn surplus(&self, channels: usize) -> Option<Uuid> {
        let init = self.channel()?;
        (usize::from(init.channel) >= channels).then_some(init.uuid)
    }

    /// Whether it says something soon, or may.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.said, Said::Handshake | Said::Nothing)
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    fn seen(&self) -> Seen {
        let age = self.since.elapsed();
        Seen {
            place: self.place,
            peer: self.peer,
            said: self.said,
            until: self.until,
            settled: match self.said {
                Said::Handshake | Said::Nothing => age < SPEAKS,
                _ => age >= GRACE,
            },
        }
    }
}

/// After so long whoever has as much to say as another has said it.
const GRACE: Duration = Duration::from_millis(300);
/// A channel says what it is within this time.
const SPEAKS: Duration = Duration::from_secs(5);
