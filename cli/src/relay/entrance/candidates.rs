// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which main connection can be whose.

use std::collections::{HashMap, HashSet};

use super::group::{self, Group};
use super::said::Said;
use super::seen::Seen;

/// The main connections and groups of channels among all connections that are there.
pub(super) struct Candidates<'s> {
    channels: usize,
    seen: &'s [Seen],
    mains: Vec<&'s Seen>,
    /// In the order of their first channels.
    groups: Vec<Group>,
    /// For each group: whether a main connection of the same peer can be its own. Then no other one is.
    is_near: Vec<bool>,
    /// For each main connection: whether channels of the same peer can be its own.
    has_near: Vec<bool>,
    /// The places of what may be a channel and has not spoken.
    silent: Vec<u64>,
    /// The places of all that may be a main connection.
    all_mains: Vec<u64>,
}

impl<'s> Candidates<'s> {
    /// Those among `seen`, which are in the order of their places, where each guest has so many `channels`.
    pub(super) fn new(seen: &'s [Seen], channels: usize) -> Self {
        let places = |is: fn(&Seen) -> bool| {
            let those = seen.iter().filter(|seen| is(seen));
            those.map(|seen| seen.place).collect::<Vec<u64>>()
        };
        let mut groups = group::groups(seen, channels);
        groups.sort_by_key(|group| group.first);
        let mut candidates = Self {
            channels,
            seen,
            mains: seen.iter().filter(|seen| seen.may_be_main()).collect(),
            groups,
            is_near: Vec::new(),
            has_near: Vec::new(),
            silent: places(Seen::may_be_channel),
            all_mains: places(Seen::may_be_main),
        };
        candidates.find_near();
        candidates
    }

    /// Finds those that fit, and are of the same peer.
    fn find_near(&mut self) {
        let mut is_near = vec![false; self.groups.len()];
        let has_near = self.mains.iter().map(|main| {
            let mut has_near = false;
            for (at, group) in self.fitting(main) {
                if Some(main.peer) == group.peer {
                    has_near = true;
                    if let Some(is_near) = is_near.get_mut(at) {
                        *is_near = true;
                    }
                }
            }
            has_near
        });
        self.has_near = has_near.collect();
        self.is_near = is_near;
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    pub(super) fn mains(&self) -> &[&'s Seen] {
        &self.mains
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The numbers of the groups that can be those of a main connection.
    pub(super) fn groups_of(&self, main: usize) -> impl Iterator<Item = usize> {
        let seen = self.mains.get(main).copied().into_iter();
        let fitting = seen.flat_map(|seen| self.fitting(seen));
        fitting.filter_map(move |(at, _)| self.is_nearest(main, at).then_some(at))
    }

    /// The numbers of the main connections that can be that of a group.
    pub(super) fn mains_of(&self, group: usize) -> impl Iterator<Item = usize> {
        let fits = move |main: &Seen| {
            let group = self.groups.get(group);
            group.is_some_and(|group| group.fits(main))
        };
        let mains = self.mains.iter().enumerate();
        let fitting = mains.filter(move |(_, main)| fits(main));
        fitting.filter_map(move |(at, _)| self.is_nearest(at, group).then_some(at))
    }

    /// Whether one that fits is of the same peer, or neither has one that is.
    fn is_nearest(&self, main: usize, group: usize) -> bool {
        let peers = (self.mains.get(main), self.groups.get(group));
        let (Some(seen), Some(channels)) = peers else {
            return false;
        };
        let none = |near: Option<&bool>| near == Some(&false);
        Some(seen.peer) == channels.peer
            || none(self.is_near.get(group)) && none(self.has_near.get(main))
    }

    /// The groups that can be those of `main`, as far as they are there, whoever has made them.
    fn fitting(&self, main: &Seen) -> impl Iterator<Item = (usize, &Group)> {
        let (place, last) = (main.place, main.last());
        let from = self.groups.partition_point(|group| group.first <= place);
        let to = self.groups.partition_point(|group| group.first <= last);
        let groups = self.groups.iter().enumerate();
        let groups = groups.take(to).skip(from);
        groups.filter(move |(_, group)| group.fits(main))
    }

    /// Whether the rest of a group may be among what has not spoken, so that it can be that of `main`, which says that its
    /// channels are all there. One that is named alike can be, in any case.
    pub(super) fn may_be_whole(&self, main: &Seen, group: usize) -> bool {
        let Some(group) = self.groups.get(group) else {
            return false;
        };
        let missing = self.channels.saturating_sub(group.channels.len());
        matches!(main.said, Said::Head(Some(_))) || missing <= self.silent(main)
    }

    /// How many channels of `main` may have been accepted and not have spoken.
    pub(super) fn silent(&self, main: &Seen) -> usize {
        let until = |last: u64| self.silent.partition_point(|place| *place <= last);
        until(main.last()).saturating_sub(until(main.place))
    }

    pub(super) fn is_whole(&self, group: &Group) -> bool {
        group.is_whole(self.channels)
    }

    /// Whether nothing else is there than `group` and its main connection.
    pub(super) fn is_alone(&self, group: &Group) -> bool {
        self.seen.len() == 1 + group.channels.len()
    }

    /// The groups whose channels may be of two guests that have the same name, or none, and the same address: then there
    /// are two such groups, and these overlap, or a main connection was made between the channels of one.
    pub(super) fn mixed(&self) -> HashSet<usize> {
        let mut alike: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, group) in self.groups.iter().enumerate() {
            alike.entry((group.uuid, group.peer)).or_default().push(at);
        }
        let mixed = alike
            .into_values()
            .filter(|alike| alike.len() > 1 && self.is_mixed(alike));
        mixed.flatten().collect()
    }

    /// Whether these, in the order of their first channels, overlap or have a main connection inside.
    fn is_mixed(&self, alike: &[usize]) -> bool {
        let mut end = 0;
        alike
            .iter()
            .filter_map(|at| self.groups.get(*at))
            .any(|group| {
                let overlaps = group.first < end;
                end = end.max(group.last);
                let next = self.all_mains.partition_point(|main| *main <= group.first);
                let next = self.all_mains.get(next);
                overlaps || next.is_some_and(|main| group.is_inside(*main))
            })
    }

    /// Takes these main connections and groups out, by their numbers.
    pub(super) fn take(&mut self, pairs: &[(usize, usize)]) -> Vec<(&'s Seen, Group)> {
        let taken = pairs.iter().filter_map(|(main, group)| {
            let (main, group) = (self.mains.get(*main)?, self.groups.get(*group)?);
            Some((*main, group.clone()))
        });
        let taken: Vec<_> = taken.collect();
        let mains: HashSet<u64> = taken.iter().map(|(main, _)| main.place).collect();
        let groups: HashSet<u64> = taken.iter().map(|(_, group)| group.first).collect();
        self.mains.retain(|main| !mains.contains(&main.place));
        self.groups.retain(|group| !groups.contains(&group.first));
        self.find_near();
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use multifd_core::wire::{InitPacket, Uuid};
    use multifd_tests::streams::Random;

    use super::*;
    use crate::net::peer::Peer;

    /// Connections that nobody would think of, of few guests and hosts.
    fn seen(random: &mut Random) -> Vec<Seen> {
        let count = random.below(14) as u64;
        let mut below = |limit| u8::try_from(random.below(limit)).unwrap();
        let seen = (0..count).map(|place| Seen {
            place,
            peer: Peer::Host(IpAddr::V4(Ipv4Addr::new(192, 0, 2, below(2)))),
            said: match below(6) {
                0 => Said::Handshake,
                1 => Said::Nothing,
                2 => Said::Head((below(2) == 0).then(|| Uuid([below(2); 16]))),
                _ => Said::Channel(InitPacket {
                    uuid: Uuid([below(2); 16]),
                    channel: below(3),
                }),
            },
            until: place + u64::from(below(10)),
            settled: below(2) == 0,
        });
        seen.collect()
    }

    /// Whether a main connection can be that of a group, said as plainly as can be.
    fn can_be(candidates: &Candidates<'_>, main: &Seen, group: &Group) -> bool {
        let near = |main: &Seen, group: &Group| Some(main.peer) == group.peer;
        let fits = |main: &Seen, group: &Group| {
            let until = if main.has_spoken() {
                main.until
            } else {
                u64::MAX
            };
            let named = !matches!(main.said, Said::Head(Some(uuid)) if uuid != group.uuid);
            let mut places = group.channels.values();
            named && places.all(|place| main.place < *place && *place <= until)
        };
        let is_near = |main: &Seen, group: &Group| fits(main, group) && near(main, group);
        let mut mains = candidates.mains.iter();
        let mut groups = candidates.groups.iter();
        let nearer =
            mains.any(|main| is_near(main, group)) || groups.any(|group| is_near(main, group));
        fits(main, group) && (near(main, group) || !nearer)
    }

    /// Whether groups are mixed, said so.
    fn are_mixed(candidates: &Candidates<'_>, group: &Group) -> bool {
        let is_alike = |other: &&Group| other.uuid == group.uuid && other.peer == group.peer;
        let alike: Vec<&Group> = candidates.groups.iter().filter(is_alike).collect();
        let overlap =
            |one: &Group, other: &Group| one.is_inside(other.first) || one.is_inside(other.last);
        let mut mains = candidates.seen.iter().filter(|seen| seen.may_be_main());
        alike.len() > 1
            && (mains.any(|main| alike.iter().any(|group| group.is_inside(main.place)))
                || alike
                    .iter()
                    .any(|one| alike.iter().any(|other| overlap(one, other))))
    }

    #[test]
    fn what_is_found_by_order_is_what_is_meant() {
        let mut random = Random::new(1);
        let mut pairs = 0;
        for _ in 0..4000 {
            let seen = seen(&mut random);
            let candidates = Candidates::new(&seen, 2);
            let mixed = candidates.mixed();
            for (at, group) in candidates.groups.iter().enumerate() {
                assert_eq!(
                    mixed.contains(&at),
                    are_mixed(&candidates, group),
                    "{seen:?}"
                );
                let mains = candidates.mains.iter().enumerate();
                let mains = mains.filter(|(_, main)| can_be(&candidates, main, group));
                let mains: Vec<usize> = mains.map(|(at, _)| at).collect();
                assert_eq!(
                    candidates.mains_of(at).collect::<Vec<_>>(),
                    mains,
                    "{seen:?}"
                );
                for main in 0..candidates.mains.len() {
                    let is_of = candidates.groups_of(main).any(|group| group == at);
                    assert_eq!(is_of, mains.contains(&main), "{seen:?}");
                }
                pairs += mains.len();
            }
        }
        assert!(pairs > 1000, "{pairs}");
    }
}
