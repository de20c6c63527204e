// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests whose connections are all there, and whose migration has not begun yet.

use std::collections::HashMap;

use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;

use super::index::origin;
use super::outside::Outside;
use crate::net::peer::Peer;

/// All connections of a guest whose migration can begin.
pub(in crate::relay) struct Party {
    pub(in crate::relay) uuid: Uuid,
    pub(in crate::relay) main: Box<dyn Transport>,
    pub(in crate::relay) peer: Peer,
    /// By number.
    pub(in crate::relay) channels: Vec<Box<dyn Transport>>,
}

/// Those that wait for their turn, the first one first.
#[derive(Default)]
pub(super) struct Queue {
    parties: Vec<Party>,
}

impl Queue {
    /// Adds a guest. Answers who had to go for it if there are too many: the last one of whoever has most.
    pub(super) fn push(&mut self, party: Party) -> Option<Party> {
        // Its source has given that attempt up.
        self.parties.retain(|former| {
            !(has_name(party.uuid) && former.uuid == party.uuid && former.main.has_ended())
        });
        self.parties.push(party);
        let connections = self.parties.iter().map(|party| 1 + party.channels.len());
        if connections.sum::<usize>() <= MOST_QUEUED {
            return None;
        }
        let mut counts: HashMap<Peer, usize> = HashMap::new();
        for party in &self.parties {
            *counts.entry(origin(party.peer)).or_default() += 1;
        }
        let count = |party: &Party| counts.get(&origin(party.peer)).copied();
        let parties = self.parties.iter().enumerate();
        let (last, _) = parties.max_by_key(|(_, party)| count(party))?;
        Some(self.parties.remove(last))
    }

    /// All of them, the first one first.
    pub(super) fn outside(&self) -> impl Iterator<Item = Outside> {
        let parties = self.parties.iter();
        parties.map(|party| Outside::queued(party.peer, party.uuid))
    }

    pub(super) fn len(&self) -> usize {
        self.parties.len()
    }

    /// Takes the first one that is not of a guest that `is_under_way`, with what it gets to `start` with; nobody if it gets
    /// nothing.
    pub(super) fn next<T>(
        &mut self,
        is_under_way: impl Fn(Uuid) -> bool,
        start: impl FnOnce() -> Option<T>,
    ) -> Option<(Party, T)> {
        let waits = |party: &Party| has_name(party.uuid) && is_under_way(party.uuid);
        let next = self.parties.iter().position(|party| !waits(party))?;
        let with = start()?;
        Some((self.parties.remove(next), with))
    }
}

/// Whether a UUID names a guest: that of a QEMU which was given none is all zero.
fn has_name(uuid: Uuid) -> bool {
    uuid != Uuid::default()
}

/// Most connections of guests that wait for their turn.
const MOST_QUEUED: usize = 4096;
