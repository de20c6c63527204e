// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a connection looks like to those who decide where it belongs: no clock, no socket.

use super::said::Said;
use crate::net::peer::Peer;

/// A connection that has no migration yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// How many were accepted before.
    pub(super) place: u64,
    pub(super) peer: Peer,
    pub(super) said: Said,
    /// Of a main connection that has said more than its magic: the last place up to which its channels are.
    pub(super) until: u64,
    /// Of a main connection: it has said so long ago that others would have spoken, too. Of a silent one: it is not
    /// old, so it may be a channel.
    pub(super) settled: bool,
}

impl Seen {
    pub(super) fn may_be_main(&self) -> bool {
        matches!(self.said, Said::Nothing | Said::Magic | Said::Head(_))
    }

    /// Whether it is a main connection, and its channels are there.
    pub(super) fn has_spoken(&self) -> bool {
        matches!(self.said, Said::Head(_))
    }

    /// Whether it has been silent for too long.
    pub(super) fn is_stranger(&self) -> bool {
        self.said == Said::Nothing && !self.settled
    }

    /// Whether it may turn out to be a main connection whose channels are there: what says more than nothing is none of
    /// somebody who only knocks.
    pub(super) fn speaks_yet(&self) -> bool {
        self.said == Said::Magic || self.said == Said::Nothing && self.settled
    }

    pub(super) fn may_be_channel(&self) -> bool {
        matches!(self.said, Said::Handshake | Said::Nothing) && self.settled
    }

    /// The last place at which a channel of this main connection can be.
    pub(super) fn last(&self) -> u64 {
        match self.said {
            Said::Head(_) => self.until,
            _ => u64::MAX,
        }
    }
}
