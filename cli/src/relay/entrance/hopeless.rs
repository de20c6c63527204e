// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections of which nothing becomes.

use std::collections::HashSet;

use super::candidates::Candidates;
use super::refusal::{Refusal, Why};
use super::seen::Seen;

/// Channels and main connections that have waited for too long, and those that could be theirs: what is left of a
/// doubt is not to be taken for something certain.
pub(super) struct Hopeless<'s> {
    of: Candidates<'s>,
    /// Their numbers.
    groups: Vec<usize>,
    /// Those that have spoken.
    mains: Vec<usize>,
}

impl<'s> Hopeless<'s> {
    /// Those among what is `open`, as `is_old` tells, and sources with more than so many `channels`.
    pub(super) fn among(open: &'s [Seen], channels: usize, is_old: impl Fn(&Seen) -> bool) -> Self {
        let old = open.iter().filter(|seen| is_old(seen));
        let old: HashSet<u64> = old.map(|seen| seen.place).collect();
        let of = Candidates::new(open, channels);
        let heads = of.mains().iter().enumerate();
        let heads = heads.filter(|(_, main)| main.has_spoken() && old.contains(&main.place));
        let mains: Vec<usize> = heads.map(|(at, _)| at).collect();
        let groups = of.groups().iter().enumerate();
        let groups = groups.filter(|(at, group)| {
            let is_old = group.channels.values().all(|place| old.contains(place));
            // A main connection that speaks has all of its channels.
            is_old || group.surplus(channels).is_some() && heads_of(&of, *at).next().is_some()
        });
        let groups = groups.map(|(at, _)| at).collect();
        let mut hopeless = Self { of, groups, mains };
        hopeless.spread();
        hopeless
    }

    /// Takes in what could be theirs, and what could be theirs in turn.
    fn spread(&mut self) {
        let mut groups: HashSet<usize> = self.groups.iter().copied().collect();
        let mut mains: HashSet<usize> = self.mains.iter().copied().collect();
        let (mut group, mut main) = (0, 0);
        loop {
            if let Some(at) = self.groups.get(group) {
                group += 1;
                let heads = heads_of(&self.of, *at);
                self.mains.extend(heads.filter(|main| mains.insert(*main)));
            } else if let Some(at) = self.mains.get(main) {
                main += 1;
                let of_main = self.of.groups_of(*at);
                self.groups
                    .extend(of_main.filter(|group| groups.insert(*group)));
            } else {
                return;
            }
        }
    }

    /// One for each guest, and for each main connection that has none.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let want = self.of.channels();
        let groups = self.groups.iter().filter_map(|at| {
            let group = self.of.groups().get(*at)?;
            let is_source = heads_of(&self.of, *at).next().is_some();
            let why = match (group.surplus(want), group.channels.len()) {
                (Some(number), _) => Why::Surplus { number, want },
                (None, got) if got < want => Why::Missing { got, want },
                (None, _) if is_source => Why::InDoubt,
                (None, _) => Why::NoMain,
            };
            Some(Refusal {
                uuid: Some(group.uuid),
                peer: group.first_peer,
                why,
                is_source,
            })
        });
        // What could be theirs is here, too.
        let alone = self
            .mains
            .iter()
            .filter(|main| self.of.groups_of(**main).next().is_none());
        let mains = alone.filter_map(|main| self.of.mains().get(*main));
        let mains = mains.map(|main| Refusal {
            uuid: None,
            peer: main.peer,
            why: Why::NoChannels,
            is_source: true,
        });
        groups.chain(mains).collect()
    }

    /// Of all of them.
    pub(super) fn places(&self) -> Vec<u64> {
        let groups = self.groups.iter();
        let groups = groups.filter_map(|at| self.of.groups().get(*at));
        let channels = groups.flat_map(|group| group.channels.values().copied());
        let mains = self.mains.iter().filter_map(|at| self.of.mains().get(*at));
        channels.chain(mains.map(|main| main.place)).collect()
    }
}

/// The main connections that can be that of a group, and have spoken.
fn heads_of(of: &Candidates<'_>, group: usize) -> impl Iterator<Item = usize> {
    let spoken = |main: &usize| of.mains().get(*main).is_some_and(|main| main.has_spoken());
    of.mains_of(group).filter(spoken)
}
