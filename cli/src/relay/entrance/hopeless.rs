//! Connections of which nothing becomes.

use super::pairing::{self, Group, Seen};
use super::refusal::{Refusal, Why};
use super::said::Said;

/// Channels and main connections that have waited for too long, and those that could be theirs: what is left of a
/// doubt is not to be taken for something certain.
pub(super) struct Hopeless {
    channels: usize,
    /// With the places of main connections that may be theirs.
    groups: Vec<(Group, Vec<u64>)>,
    /// Those that have spoken.
    mains: Vec<Seen>,
}

impl Hopeless {
    /// Those among what is `open`, as `is_old` tells, and sources with more than so many `channels`.
    pub(super) fn among(open: &[Seen], channels: usize, is_old: impl Fn(&Seen) -> bool) -> Self {
        let of =
            |group: &Group, seen: &Seen| group.channels.values().any(|place| *place == seen.place);
        let all_old = |group: &Group| open.iter().filter(|seen| of(group, seen)).all(&is_old);
        // A main connection that speaks has all of its channels.
        let is_lost = |(group, mains): &(Group, Vec<u64>)| {
            all_old(group) || group.surplus(channels).is_some() && !mains.is_empty()
        };
        let possible = pairing::possible(open, channels).into_iter();
        let (mut lost, mut groups): (Vec<_>, Vec<_>) = possible.partition(is_lost);
        let spoken = |seen: &&Seen| matches!(seen.said, Said::Head(_));
        let heads = open.iter().filter(spoken).copied();
        let (mut lost_mains, mut mains): (Vec<_>, Vec<_>) = heads.partition(&is_old);
        loop {
            let is_of = |places: &[u64]| lost_mains.iter().any(|main| places.contains(&main.place));
            let found = groups.extract_if(.., |(_, mains)| is_of(mains));
            let found: Vec<_> = found.collect();
            let doubtful = lost.iter().chain(&found).flat_map(|(_, mains)| mains);
            let places: Vec<u64> = doubtful.copied().collect();
            let heads = mains.extract_if(.., |main| places.contains(&main.place));
            let heads: Vec<_> = heads.collect();
            if found.is_empty() && heads.is_empty() {
                return Self {
                    channels,
                    groups: lost,
                    mains: lost_mains,
                };
            }
            lost.extend(found);
            lost_mains.extend(heads);
        }
    }

    /// One for each guest, and for each main connection that has none.
    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let want = self.channels;
        let of_groups = self.groups.iter().map(|(group, mains)| Refusal {
            uuid: Some(group.uuid),
            peer: group.first_peer,
            why: match (group.surplus(want), group.channels.len()) {
                (Some(number), _) => Why::Surplus { number, want },
                (None, got) if got < want => Why::Missing { got, want },
                (None, _) if mains.is_empty() => Why::NoMain,
                (None, _) => Why::InDoubt,
            },
            is_source: !mains.is_empty(),
        });
        let is_alone = |main: &&Seen| {
            let mut groups = self.groups.iter();
            !groups.any(|(_, mains)| mains.contains(&main.place))
        };
        let of_mains = self.mains.iter().filter(is_alone).map(|main| Refusal {
            uuid: None,
            peer: main.peer,
            why: Why::NoChannels,
            is_source: true,
        });
        of_groups.chain(of_mains).collect()
    }

    /// Of all of them.
    pub(super) fn places(&self) -> Vec<u64> {
        let groups = self.groups.iter();
        let channels = groups.flat_map(|(group, _)| group.channels.values().copied());
        channels
            .chain(self.mains.iter().map(|main| main.place))
            .collect()
    }
}
