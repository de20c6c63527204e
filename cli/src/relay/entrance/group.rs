// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Channels that are of one guest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;

use multifd_core::wire::{InitPacket, Uuid};

use super::said::Said;
use super::seen::Seen;
use crate::net::peer::Peer;

/// The channels of one guest, of one attempt to migrate it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) uuid: Uuid,
    /// Places, by the channel's number.
    pub(super) channels: BTreeMap<u8, u64>,
    pub(super) first_peer: Peer,
    /// Of all channels, unless they differ.
    pub(super) peer: Option<Peer>,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// The channels among `seen`, by guest, and by who has made them: somebody else may claim to be of a guest. Only where
/// no peer has made all of so many `channels`, and none of them is given twice, are they one guest's whose address
/// changes.
pub(super) fn groups(seen: &[Seen], channels: usize) -> Vec<Group> {
    let apart = attempts(seen, |init, peer| (init.uuid, peer));
    let together = attempts(seen, |init, _| init.uuid);
    let mut several = HashSet::new();
    let mut known = HashSet::new();
    several.extend(together.iter().filter_map(|group| {
        // It is given twice.
        (!known.insert(group.uuid)).then_some(group.uuid)
    }));
    let whole = apart
        .iter()
        .filter(|group| group.channels.len() >= channels);
    several.extend(whole.map(|group| group.uuid));
    let (together, apart) = (together.into_iter(), apart.into_iter());
    together
        .filter(|group| !several.contains(&group.uuid))
        .chain(apart.filter(|group| several.contains(&group.uuid)))
        .collect()
}

/// The channels, by guest, where `who` tells them apart; a number that comes again is of another attempt.
fn attempts<K: Clone + Eq + Hash>(
    seen: &[Seen],
    who: impl Fn(&InitPacket, Peer) -> K,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut of_guest: HashMap<K, Vec<usize>> = HashMap::new();
    let mut times: HashMap<(K, u8), usize> = HashMap::new();
    for connection in seen {
        let Said::Channel(init) = connection.said else {
            continue;
        };
        let who = who(&init, connection.peer);
        let attempts = of_guest.entry(who.clone()).or_default();
        let time = times.entry((who, init.channel)).or_default();
        let attempt = attempts.get(*time).and_then(|at| groups.get_mut(*at));
        *time += 1;
        if let Some(group) = attempt {
            group.add(init.channel, connection);
        } else {
            attempts.push(groups.len());
            groups.push(Group::new(&init, connection));
        }
    }
    groups
}

impl Group {
    fn new(init: &InitPacket, connection: &Seen) -> Self {
        let Seen { place, peer, .. } = *connection;
        Self {
            uuid: init.uuid,
            channels: [(init.channel, place)].into(),
            first_peer: peer,
            peer: Some(peer),
            first: place,
            last: place,
        }
    }

    fn add(&mut self, number: u8, connection: &Seen) {
        let Seen { place, peer, .. } = *connection;
        self.channels.insert(number, place);
        self.peer = self.peer.filter(|known| *known == peer);
        self.first = self.first.min(place);
        self.last = self.last.max(place);
    }

    /// Whether all of so many `channels` are there.
    pub(super) fn is_whole(&self, channels: usize) -> bool {
        let numbers = self.channels.keys().map(|number| usize::from(*number));
        numbers.eq(0..channels)
    }

    /// A number that there is no channel for where there are to be so many `channels`.
    pub(super) fn surplus(&self, channels: usize) -> Option<u8> {
        let mut numbers = self.channels.keys().copied();
        numbers.find(|number| usize::from(*number) >= channels)
    }

    /// Whether the guest that `main` names is this one, if it names one.
    pub(super) fn is_named_by(&self, main: &Seen) -> bool {
        !matches!(main.said, Said::Head(Some(uuid)) if uuid != self.uuid)
    }

    /// Whether it can be of `main`, as far as it is there.
    pub(super) fn fits(&self, main: &Seen) -> bool {
        main.place < self.first && self.last <= main.last() && self.is_named_by(main)
    }

    /// Whether a connection was made between those of this group.
    pub(super) fn is_inside(&self, place: u64) -> bool {
        self.first < place && place < self.last
    }
}
