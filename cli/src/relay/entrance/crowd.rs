// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The connections that have no migration yet.
//!
//! What one connection does costs no look at the others: those that have something to say are [ready](Readiness), time
//! that tells something is kept in order, and what belongs together is only made out where there is
//! [something to find](Index). A decision that has taken long is not made again at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use multifd_core::transport::Transport;
use multifd_core::wire::{InitPacket, Uuid};

use super::candidate::Candidate;
use super::clock::Clock;
use super::hopeless::Hopeless;
use super::index::Index;
use super::outside::Outside;
use super::pairing::{self, Guest};
use super::queue::Party;
use super::readiness::Readiness;
use super::refusal::Refusal;
use super::said::{MOST, Said};
use super::seen::Seen;
use super::waiting::{Stranger, Waiting};
use crate::net::peer::Peer;

/// All of them.
pub(super) struct Crowd {
    channels: usize,
    /// Most connections at once of which it is known what they are.
    most_known: usize,
    /// How long a connection may not say what it is.
    limit: Duration,
    /// How long connections may be a guest only in part, or in doubt.
    doubt: Duration,
    /// By place: how many were accepted before.
    waiting: BTreeMap<u64, Waiting>,
    accepted: u64,
    index: Index,
    readiness: Readiness,
    due: BTreeSet<(Instant, u64)>,
    /// For those that have said something.
    clock: Clock,
    strangers: Vec<(Peer, Stranger)>,
    /// Whether there may be something new to find out, and of what kind.
    news: News,
    /// Not before.
    decides: Instant,
}

/// What has changed since the last decision.
#[derive(Default)]
struct News {
    /// More may belong together.
    pairs: bool,
    /// More may be hopeless.
    hopeless: bool,
    /// There are more channels than there should be.
    surplus: bool,
}

/// What comes of a decision.
pub(super) enum Decision {
    /// These are guests.
    Guests(Vec<Party>),
    /// Of these nothing becomes.
    Hopeless(Vec<Refusal>),
}

impl Crowd {
    /// Of guests with so many `channels`. A connection has `limit` to say what it is, and then `doubt` for its guest to be
    /// known.
    pub(super) fn new(channels: usize, limit: Duration, doubt: Duration) -> io::Result<Self> {
        Ok(Self {
            channels,
            most_known: MOST_KNOWN,
            limit,
            doubt,
            waiting: BTreeMap::new(),
            accepted: 0,
            index: Index::new(channels),
            readiness: Readiness::new()?,
            due: BTreeSet::new(),
            clock: Clock::default(),
            strangers: Vec::new(),
            news: News::default(),
            decides: Instant::now(),
        })
    }

    pub(super) fn add(&mut self, connection: Candidate, peer: Peer) -> io::Result<()> {
        let place = self.accepted;
        if let Candidate::Socket(socket) = &connection {
            self.readiness.add(socket, place)?;
        }
        self.accepted += 1;
        let waiting = Waiting::new(connection, peer, place);
        self.index.add(place, peer, waiting.said);
        self.waiting.insert(place, waiting);
        self.schedule(place);
        self.hear(place);
        Ok(())
    }

    /// Whether nobody can be accepted who may belong to those that are here, but will be: these are not given up meanwhile.
    pub(super) fn set_closed(&mut self, is_closed: bool) {
        self.clock.set_still(is_closed);
    }

    /// When to look again though nothing has come.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_open = self.news.pairs || self.news.hopeless;
        let due = self.due.first().map(|(due, _)| *due);
        due.into_iter().chain(is_open.then_some(self.decides)).min()
    }

    /// All of them, in the order in which they came.
    pub(super) fn outside(&self) -> impl Iterator<Item = Outside> {
        self.waiting.values().map(Waiting::outside)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        for place in self.waiting.keys().copied().collect::<Vec<_>>() {
            self.take(place);
        }
        self.strangers.clear();
    }

    /// Closes the one that gives way to another, if there are too many: whoever has most gives way to the others, so nobody
    /// pushes out somebody else's. Of those that have not said what they are it is the oldest that has not shaken hands,
    /// or else the oldest: a source says so within milliseconds. Answers who it was, and why.
    pub(super) fn drop_least(&mut self) -> Option<(Peer, &'static str)> {
        let (unknown, known) = (self.index.too_little(), self.index.spoken());
        let (place, why) = if unknown.count() >= MOST {
            let is_closed = |place: &u64| {
                let waiting = self.waiting.get(place);
                waiting.is_some_and(|waiting| waiting.said == Said::Handshake)
            };
            let least = unknown.most().find(is_closed);
            let least = least.or_else(|| unknown.most().next());
            (
                least?,
                "it had not identified itself when too many others came",
            )
        } else if known.count() >= self.most_known {
            let why = "the rest of its guest had not come when there were too many others";
            (known.most().next()?, why)
        } else {
            return None;
        };
        Some((self.take(place)?.peer, why))
    }

    /// Listens to those that have something to say, and looks at what time tells.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        self.look_at_clock();
        for place in self.readiness.ready()? {
            self.hear(place);
        }
        // Whoever hears these says nothing to the system.
        let heard = self.index.too_little().iter().filter(|place| {
            let waiting = self.waiting.get(place);
            waiting.is_some_and(|waiting| matches!(waiting.connection, Candidate::Heard(_)))
        });
        for place in heard.collect::<Vec<_>>() {
            self.hear(place);
        }
        Ok(())
    }

    /// Takes those that are no source's: they have ended, have begun with something else, or have been silent for too
    /// long. They are closed.
    pub(super) fn take_strangers(&mut self) -> Vec<(Peer, Stranger)> {
        std::mem::take(&mut self.strangers)
    }

    /// Takes channels with a number that there is no channel for, where a migration under way `takes` those of this guest
    /// and peer: its source has made more than it should.
    pub(super) fn take_surplus(
        &mut self,
        is_begun: bool,
        takes: impl Fn(Uuid, Peer) -> bool,
    ) -> Vec<(Uuid, Peer, Box<dyn Transport>)> {
        if !std::mem::take(&mut self.news.surplus) && !is_begun {
            return Vec::new();
        }
        let places = self.index.surplus().clone();
        let taken = places.into_iter().filter_map(|place| {
            let waiting = self.waiting.get(&place)?;
            let (uuid, peer) = (waiting.surplus(self.channels)?, waiting.peer);
            let taken = takes(uuid, peer).then(|| self.take(place))??;
            Some((uuid, peer, taken.connection.into_transport()?))
        });
        taken.collect()
    }

    /// Takes guests all of whose connections are known; or what has waited for so long that nothing more is to come of it,
    /// and sources with too many channels.
    pub(super) fn decide(&mut self) -> Decision {
        let begin = Instant::now();
        if begin < self.decides {
            return Decision::Guests(Vec::new());
        }
        let may_pair = std::mem::take(&mut self.news.pairs) && self.index.may_pair();
        if !may_pair && !self.news.hopeless {
            return Decision::Guests(Vec::new());
        }
        let seen = self.seen();
        let mut guests = Vec::new();
        if may_pair {
            guests = pairing::guests(&seen, self.channels);
            guests.sort_by_key(|guest| guest.main);
        }
        let decision = if !guests.is_empty() {
            // There may be more.
            self.news.pairs = true;
            let parties = guests.into_iter().filter_map(|guest| self.party(guest));
            Decision::Guests(parties.collect())
        } else if std::mem::take(&mut self.news.hopeless) {
            Decision::Hopeless(self.take_hopeless(&seen))
        } else {
            Decision::Guests(Vec::new())
        };
        self.decides = Instant::now() + SHARE * begin.elapsed();
        decision
    }

    /// Whether none of a young connection is unknown that may belong to a migration which has said at `then` that all of
    /// its own are made.
    pub(super) fn is_sorted(&self, then: Instant) -> bool {
        let silent = self.index.too_little().iter();
        let mut silent = silent.filter_map(|place| self.waiting.get(&place));
        !silent.any(|waiting| waiting.may_belong(then))
    }

    fn take_hopeless(&mut self, seen: &[Seen]) -> Vec<Refusal> {
        let hopeless = Hopeless::among(seen, self.channels, |seen| {
            let waiting = self.waiting.get(&seen.place);
            waiting.is_some_and(|waiting| waiting.is_old(self.doubt, &self.clock))
        });
        for place in hopeless.places() {
            self.take(place);
        }
        hopeless.refusals()
    }

    /// Hears what a connection has said by now.
    fn hear(&mut self, place: u64) {
        let Some(waiting) = self.waiting.get_mut(&place) else {
            return;
        };
        let (peer, before) = (waiting.peer, waiting.said);
        if !waiting.hear(&self.clock) {
            return;
        }
        let said = waiting.said;
        self.index.remove(place, peer, before);
        self.index.add(place, peer, said);
        if let (Candidate::Socket(socket), false) = (&waiting.connection, said.is_too_little()) {
            // It says no more that is to be looked at.
            self.readiness.remove(socket);
        }
        match said {
            Said::Channel(init) => {
                self.drop_former(place, init);
                let is_surplus = self.index.surplus().contains(&place);
                self.news.pairs = true;
                self.news.surplus |= is_surplus;
                self.news.hopeless |= is_surplus;
            }
            Said::Head(_) => {
                self.news.pairs = true;
                self.news.hopeless |= !self.index.surplus().is_empty();
            }
            _ => {}
        }
        self.schedule(place);
        self.turn_away(place);
    }

    /// Takes a connection out that is no source's.
    fn turn_away(&mut self, place: u64) {
        let waiting = self.waiting.get(&place);
        if let Some(stranger) =
            waiting.and_then(|waiting| waiting.stranger(self.limit, &self.clock))
            && let Some(waiting) = self.take(place)
        {
            self.strangers.push((waiting.peer, stranger));
        }
    }

    /// Looks at those of which time tells something.
    fn look_at_clock(&mut self) {
        let now = Instant::now();
        while let Some((due, place)) = self.due.first().copied()
            && due <= now
        {
            self.due.pop_first();
            let last = self.accepted.saturating_sub(1);
            if let Some(waiting) = self.waiting.get_mut(&place) {
                waiting.due = None;
                waiting.look(last, &self.clock);
                self.news.pairs = true;
                self.news.hopeless |= waiting.is_hopeless(self.doubt, &self.clock);
                self.schedule(place);
                self.turn_away(place);
            }
        }
    }

    /// Makes out when to look at a connection next.
    fn schedule(&mut self, place: u64) {
        let Some(waiting) = self.waiting.get_mut(&place) else {
            return;
        };
        let due = waiting.next_due(self.limit, self.doubt, &self.clock);
        let before = std::mem::replace(&mut waiting.due, due);
        self.due.extend(due.map(|due| (due, place)));
        if let Some(before) = before.filter(|before| Some(*before) != due) {
            self.due.remove(&(before, place));
        }
    }

    /// Drops the channels of a source that has ended, once it comes again: they are not to be taken for its new ones.
    fn drop_former(&mut self, place: u64, init: InitPacket) {
        let has_ended = |place: &u64| {
            let waiting = self.waiting.get(place);
            waiting.is_some_and(|waiting| waiting.connection.has_ended())
        };
        let former = self.index.alike(init).filter(|other| *other < place);
        if !former.take(MOST_FORMER).any(|other| has_ended(&other)) {
            return;
        }
        let former: Vec<u64> = self.index.of_guest(init.uuid).filter(has_ended).collect();
        for former in former {
            self.take(former);
        }
    }

    fn party(&mut self, guest: Guest) -> Option<Party> {
        let main = self.take(guest.main)?;
        let channels = guest.channels.into_iter();
        let channels = channels.filter_map(|place| self.take(place)?.connection.into_transport());
        let channels = channels.collect();
        Some(Party {
            uuid: guest.uuid,
            peer: main.peer,
            main: main.connection.into_transport()?,
            channels,
        })
    }

    fn take(&mut self, place: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&place)?;
        self.index.remove(place, waiting.peer, waiting.said);
        if let Some(due) = waiting.due {
            self.due.remove(&(due, place));
        }
        if let (Candidate::Socket(socket), true) =
            (&waiting.connection, waiting.said.is_too_little())
        {
            self.readiness.remove(socket);
        }
        // There is less doubt without it.
        self.news.pairs = true;
        Some(waiting)
    }

    fn seen(&self) -> Vec<Seen> {
        let last = self.accepted.saturating_sub(1);
        let all = self.waiting.values();
        all.map(|waiting| waiting.seen(last, self.doubt, &self.clock))
            .collect()
    }
}

/// It is ready to be received from when a connection has something to say.
impl AsFd for Crowd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }
}

/// Most connections at once of which it is known what they are, and not yet of which guest: those of sixteen that have all
/// channels that there can be.
const MOST_KNOWN: usize = 4096;
/// Most channels of the same guest and number that are asked whether they have ended.
const MOST_FORMER: usize = 64;
/// How many times as long as a decision took the others' time is before the next.
const SHARE: u32 = 3;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{IpAddr, Ipv4Addr};
    use std::os::unix::net::UnixStream;

    use multifd_core::transport::SocketTransport;

    use super::*;

    const SOURCE: Peer = Peer::Host(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Peer = Peer::Host(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
    const HEAD: &[u8] = b"QEVM\0\0\0\x03\x07\0\0\0\x02pc\x01";

    fn crowd() -> Crowd {
        let long = Duration::from_secs(3600);
        Crowd::new(2, long, long).unwrap()
    }

    fn channel(guest: u8, channel: u8) -> [u8; 64] {
        let uuid = Uuid([guest; 16]);
        InitPacket { uuid, channel }.encode()
    }

    /// A connection of `peer` that has said this; its other end.
    fn comes(crowd: &mut Crowd, peer: Peer, said: &[u8]) -> UnixStream {
        let (here, mut there) = UnixStream::pair().unwrap();
        let here = SocketTransport::new(here).unwrap();
        crowd.add(Candidate::Socket(here), peer).unwrap();
        there.write_all(said).unwrap();
        crowd.listen().unwrap();
        there
    }

    fn guests(crowd: &mut Crowd) -> Vec<Uuid> {
        // Though the last decision may have taken long.
        crowd.decides = Instant::now();
        match crowd.decide() {
            Decision::Guests(parties) => parties.iter().map(|party| party.uuid).collect(),
            Decision::Hopeless(refusals) => panic!("{refusals:?}"),
        }
    }

    #[test]
    fn what_comes_in_parts_is_heard() {
        let mut crowd = crowd();
        let mut main = comes(&mut crowd, SOURCE, b"QE");
        let _channels = [0, 1].map(|number| comes(&mut crowd, SOURCE, &channel(1, number)));
        assert_eq!(guests(&mut crowd), []);
        main.write_all(b"VM\0\0").unwrap();
        crowd.listen().unwrap();
        assert_eq!(guests(&mut crowd), []);
        main.write_all(&HEAD[6..]).unwrap();
        crowd.listen().unwrap();
        assert_eq!(guests(&mut crowd), [Uuid([1; 16])]);
        assert!(crowd.waiting.is_empty() && crowd.due.is_empty());
    }

    #[test]
    fn whoever_has_most_gives_way() {
        let mut crowd = crowd();
        crowd.most_known = 6;
        let mut held = vec![comes(&mut crowd, SOURCE, b"")];
        held.push(comes(&mut crowd, SOURCE, &channel(1, 0)));
        for guest in 2..100 {
            let _ = crowd.drop_least();
            held.push(comes(&mut crowd, OTHER, &channel(guest, 0)));
        }
        assert_eq!(crowd.index.spoken().count(), 6);
        // The last one of the others is as young as can be.
        let (peer, why) = crowd.drop_least().unwrap();
        assert!(peer == OTHER && why.contains("too many others"), "{why}");
        assert!(crowd.waiting.contains_key(&0) && crowd.waiting.contains_key(&1));
    }

    #[test]
    fn the_silent_of_one_host_do_not_push_out_those_of_another() {
        let mut crowd = crowd();
        let mut main = comes(&mut crowd, SOURCE, b"");
        let mut held = std::collections::VecDeque::new();
        for _ in 0..2 * MOST {
            let _ = crowd.drop_least();
            held.push_back(comes(&mut crowd, OTHER, b""));
            if held.len() > MOST {
                held.pop_front();
            }
        }
        main.write_all(HEAD).unwrap();
        crowd.listen().unwrap();
        assert!(crowd.waiting.contains_key(&0));
    }

    #[test]
    fn channels_of_a_source_that_has_ended_are_dropped_when_it_comes_again() {
        let mut crowd = crowd();
        drop(comes(&mut crowd, SOURCE, &channel(1, 0)));
        let _main = comes(&mut crowd, SOURCE, HEAD);
        let _channels = [0, 1].map(|number| comes(&mut crowd, SOURCE, &channel(1, number)));
        assert!(!crowd.waiting.contains_key(&0));
        assert_eq!(crowd.waiting.len(), 3);
    }

    /// Whether one was given up.
    fn is_given_up(crowd: &mut Crowd) -> bool {
        crowd.decides = Instant::now();
        // Whenever the next look was to be.
        crowd.due = crowd
            .waiting
            .keys()
            .map(|at| (crowd.decides, *at))
            .collect();
        crowd.listen().unwrap();
        matches!(crowd.decide(), Decision::Hopeless(refusals) if !refusals.is_empty())
    }

    #[test]
    fn who_may_have_others_outside_is_not_given_up() {
        let mut crowd = Crowd::new(2, Duration::from_secs(3600), Duration::from_nanos(1)).unwrap();
        crowd.set_closed(true);
        let _held = comes(&mut crowd, SOURCE, &channel(1, 0));
        assert!(!is_given_up(&mut crowd) && crowd.waiting.len() == 1);
        crowd.set_closed(false);
        assert!(is_given_up(&mut crowd) && crowd.waiting.is_empty());
    }

    #[test]
    fn nothing_is_decided_where_nothing_can_be_new() {
        let mut crowd = crowd();
        let _held = [1, 2, 3].map(|guest| comes(&mut crowd, SOURCE, &channel(guest, 0)));
        assert_eq!(guests(&mut crowd), []);
        crowd.listen().unwrap();
        assert!(!crowd.news.pairs && !crowd.news.hopeless);
        assert!(!crowd.index.may_pair());
    }
}
