// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What waits, so that it is found without a look at all of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use multifd_core::wire::{InitPacket, Uuid};

use super::said::Said;
use crate::net::peer::Peer;

/// Connections by what they have said, as places.
#[derive(Default)]
pub(super) struct Index {
    channels: usize,
    /// By who has made them: those that have said too little, and the others.
    too_little: Origins,
    spoken: Origins,
    heads: usize,
    /// By the number of the channel.
    guests: HashMap<Uuid, BTreeMap<u8, BTreeSet<u64>>>,
    /// Guests of which every channel is there.
    whole: usize,
    /// Channels with a number that there is no channel for.
    surplus: BTreeSet<u64>,
}

/// Connections by origin.
#[derive(Default)]
pub(super) struct Origins {
    places: HashMap<Peer, BTreeSet<u64>>,
    count: usize,
}

impl Index {
    /// Of guests with so many `channels`.
    pub(super) fn new(channels: usize) -> Self {
        Self {
            channels,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, place: u64, peer: Peer, said: Said) {
        self.origins(said).add(place, peer);
        match said {
            Said::Head(_) => self.heads += 1,
            Said::Channel(init) => self.change(init, |places| places.insert(place)),
            _ => {}
        }
        if self.is_surplus(said) {
            self.surplus.insert(place);
        }
    }

    pub(super) fn remove(&mut self, place: u64, peer: Peer, said: Said) {
        self.origins(said).remove(place, peer);
        match said {
            Said::Head(_) => self.heads = self.heads.saturating_sub(1),
            Said::Channel(init) => self.change(init, |places| places.remove(&place)),
            _ => {}
        }
        self.surplus.remove(&place);
    }

    /// Whether something may belong together: a main connection that has spoken is there, and all channels of a guest.
    pub(super) fn may_pair(&self) -> bool {
        self.heads > 0 && self.whole > 0
    }

    pub(super) fn too_little(&self) -> &Origins {
        &self.too_little
    }

    pub(super) fn spoken(&self) -> &Origins {
        &self.spoken
    }

    pub(super) fn surplus(&self) -> &BTreeSet<u64> {
        &self.surplus
    }

    /// Other channels of the same guest and number, the last first.
    pub(super) fn alike(&self, init: InitPacket) -> impl Iterator<Item = u64> {
        let numbers = self.guests.get(&init.uuid);
        let places = numbers.and_then(|numbers| numbers.get(&init.channel));
        places.into_iter().flatten().rev().copied()
    }

    /// The channels of a guest.
    pub(super) fn of_guest(&self, uuid: Uuid) -> impl Iterator<Item = u64> {
        let numbers = self.guests.get(&uuid).into_iter();
        numbers.flat_map(BTreeMap::values).flatten().copied()
    }

    fn origins(&mut self, said: Said) -> &mut Origins {
        match said.is_too_little() {
            true => &mut self.too_little,
            false => &mut self.spoken,
        }
    }

    fn is_surplus(&self, said: Said) -> bool {
        matches!(said, Said::Channel(init) if usize::from(init.channel) >= self.channels)
    }

    /// Changes the places of a guest's channel.
    fn change(&mut self, init: InitPacket, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let channels = self.channels;
        let is_whole = |numbers: &BTreeMap<u8, _>| {
            let all = numbers.keys().map(|number| usize::from(*number));
            all.take_while(|number| *number < channels).count() == channels
        };
        let numbers = self.guests.entry(init.uuid).or_default();
        let before = is_whole(numbers);
        let places = numbers.entry(init.channel).or_default();
        change(places);
        if places.is_empty() {
            numbers.remove(&init.channel);
        }
        let after = is_whole(numbers);
        if numbers.is_empty() {
            self.guests.remove(&init.uuid);
        }
        self.whole = self.whole + usize::from(after) - usize::from(before);
    }
}

impl Origins {
    fn add(&mut self, place: u64, peer: Peer) {
        let places = self.places.entry(origin(peer)).or_default();
        self.count += usize::from(places.insert(place));
    }

    fn remove(&mut self, place: u64, peer: Peer) {
        let origin = origin(peer);
        let Some(places) = self.places.get_mut(&origin) else {
            return;
        };
        self.count -= usize::from(places.remove(&place));
        if places.is_empty() {
            self.places.remove(&origin);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.places.values().flatten().copied()
    }

    /// Those of the origin that has most, the oldest first.
    pub(super) fn most(&self) -> impl Iterator<Item = u64> {
        // Of two that have as many, that with the older one.
        let rank = |places: &&BTreeSet<u64>| (places.len(), Reverse(places.first().copied()));
        let most = self.places.values().max_by_key(rank);
        most.into_iter().flatten().copied()
    }
}

/// Who can be told apart: whoever has one address of an IPv6 network has all of them.
pub(super) fn origin(peer: Peer) -> Peer {
    match peer {
        Peer::Host(IpAddr::V6(address)) => {
            let network = u128::from(address) & NETWORK;
            let address = match address.to_ipv4_mapped() {
                Some(mapped) => IpAddr::V4(mapped),
                None => IpAddr::V6(Ipv6Addr::from(network)),
            };
            Peer::Host(address)
        }
        peer => peer,
    }
}

/// The first 64 bits.
const NETWORK: u128 = !(u64::MAX as u128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_network_are_one_origin() {
        let host = |text: &str| origin(Peer::Host(text.parse().unwrap()));
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:2"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
        assert_eq!(host("::ffff:192.0.2.1"), host("192.0.2.1"));
        assert_ne!(host("192.0.2.1"), host("192.0.2.2"));
    }
}
