// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A connection that has no migration yet, and time.

use std::time::{Duration, Instant};

use multifd_core::wire::{InitPacket, Uuid};

use super::candidate::Candidate;
use super::clock::Clock;
use super::outside::Outside;
use super::said::Said;
use super::seen::Seen;
use crate::net::peer::Peer;

/// One connection.
pub(super) struct Waiting {
    pub(super) connection: Candidate,
    pub(super) peer: Peer,
    pub(super) place: u64,
    pub(super) said: Said,
    /// Since when it has said no more than that.
    since: Instant,
    /// For how long the clock had stood still by then.
    stood: Duration,
    /// See [`Seen::until`]; `None` while others may be accepted that belong to it.
    until: Option<u64>,
    /// When to look at it, though nothing has come.
    pub(super) due: Option<Instant>,
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
    pub(super) fn new(connection: Candidate, peer: Peer, place: u64) -> Self {
        Self {
            connection,
            peer,
            place,
            said: Said::Nothing,
            since: Instant::now(),
            stood: Duration::ZERO,
            until: None,
            due: None,
        }
    }

    /// Hears what it has said by now; whether that is something new.
    pub(super) fn hear(&mut self, clock: &Clock) -> bool {
        let said = self.connection.said();
        let is_new = said != self.said;
        if is_new {
            self.said = said;
            self.since = Instant::now();
            self.stood = clock.stood(self.since);
        }
        is_new
    }

    /// Some time has passed, and `last` is the place of the last connection that was accepted.
    pub(super) fn look(&mut self, last: u64, clock: &Clock) {
        // A channel's connection may be accepted a little later than what was said behind it is heard.
        if self.until.is_none() && self.is_settled_main(clock) {
            self.until = Some(last);
        }
    }

    /// Makes out when time alone tells something of it next, where it may wait for `limit` to say what it is, and for `doubt`
    /// from then on.
    pub(super) fn next_due(
        &self,
        limit: Duration,
        doubt: Duration,
        clock: &Clock,
    ) -> Option<Instant> {
        let times = match self.said {
            Said::Handshake | Said::Nothing => [speaks(doubt), limit],
            Said::Magic => [limit, limit],
            Said::Head(_) => [GRACE, doubt],
            Said::Channel(_) => [doubt, doubt],
            Said::Other(_) | Said::End => return None,
        };
        let age = self.age(clock);
        let next = times.into_iter().filter(|time| *time > age).min()?;
        let left = next.saturating_sub(age);
        // The clock may stand still right before.
        let left = match clock.is_still() {
            true => left.max(LOOK),
            false => left,
        };
        Instant::now().checked_add(left)
    }

    /// Whether it has said for so long no more than it has.
    pub(super) fn is_old(&self, limit: Duration, clock: &Clock) -> bool {
        self.age(clock) >= limit
    }

    /// Whether it has said what it is, and its guest is still not known after so long in `doubt`.
    pub(super) fn is_hopeless(&self, doubt: Duration, clock: &Clock) -> bool {
        !self.said.is_too_little() && self.is_old(doubt, clock)
    }

    /// For how long it has said no more. Whoever has said something waits for others, who may not be let in yet: that time
    /// does not count.
    fn age(&self, clock: &Clock) -> Duration {
        let now = Instant::now();
        let age = now.saturating_duration_since(self.since);
        match self.said {
            Said::Handshake | Said::Nothing => age,
            _ => age.saturating_sub(clock.stood(now).saturating_sub(self.stood)),
        }
    }

    pub(super) fn stranger(&self, limit: Duration, clock: &Clock) -> Option<Stranger> {
        match self.said {
            Said::Other(start) => Some(Stranger::Other(start)),
            Said::End => Some(Stranger::Ended(self.connection.why())),
            said if said.is_too_little() && self.is_old(limit, clock) => Some(Stranger::Silent),
            _ => None,
        }
    }

    /// The first packet of a channel.
    pub(super) fn channel(&self) -> Option<InitPacket> {
        match self.said {
            Said::Channel(init) => Some(init),
            _ => None,
        }
    }

    /// The guest, if this is a channel that no migration of so many `channels` has.
    pub(super) fn surplus(&self, channels: usize) -> Option<Uuid> {
        let init = self.channel()?;
        (usize::from(init.channel) >= channels).then_some(init.uuid)
    }

    /// Whether it is young, says something soon or may, and may belong to a migration which has said at `then` that all of
    /// its own are made. Others may come without end.
    pub(super) fn may_belong(&self, then: Instant) -> bool {
        let is_silent = matches!(self.said, Said::Handshake | Said::Nothing);
        let is_young = self.since.elapsed() < GRACE;
        is_silent && is_young && self.since.saturating_duration_since(then) < GRACE
    }

    pub(super) fn outside(&self) -> Outside {
        Outside::new(self.peer, self.said, self.since)
    }

    /// What it looks like, where `last` is the place of the last connection that was accepted, and a guest may be in `doubt` for
    /// so long.
    pub(super) fn seen(&self, last: u64, doubt: Duration, clock: &Clock) -> Seen {
        Seen {
            place: self.place,
            peer: self.peer,
            said: self.said,
            until: self.until.unwrap_or(last),
            settled: match self.said {
                Said::Handshake | Said::Nothing => !self.is_old(speaks(doubt), clock),
                _ => self.is_old(GRACE, clock),
            },
        }
    }

    fn is_settled_main(&self, clock: &Clock) -> bool {
        matches!(self.said, Said::Head(_)) && self.is_old(GRACE, clock)
    }
}

/// What is silent for longer is not waited for, so that those who wait for it are not in `doubt` for too long.
fn speaks(doubt: Duration) -> Duration {
    SPEAKS.min(doubt / 2)
}

/// Between two looks while the clock stands still.
const LOOK: Duration = Duration::from_millis(100);
/// After so long whoever has as much to say as another has said it.
const GRACE: Duration = Duration::from_millis(300);
/// A source's connections say what they are within this time.
const SPEAKS: Duration = Duration::from_secs(5);
