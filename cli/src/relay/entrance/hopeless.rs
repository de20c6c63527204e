//! Connections of which nothing becomes.

use super::pairing::{self, Group, Seen};
use super::refusal::{Refusal, Why};
use super::said::Said;

/// Channels and main connections that have waited for too long, and those that could be theirs: what is left of a
/// doubt is not to be taken for something certain.
pub(super) struct Hopeless {
    channels: usize,
    groups: Vec<Group>,
    /// Those that have spoken.
    mains: Vec<Seen>,
}

impl Hopeless {
    /// Those among what is `open`, as `is_old` tells.
    pub(super) fn among(open: &[Seen], channels: usize, is_old: impl Fn(&Seen) -> bool) -> Self {
        let of =
            |group: &Group, seen: &Seen| group.channels.values().any(|place| *place == seen.place);
        let all_old = |group: &Group| open.iter().filter(|seen| of(group, seen)).all(&is_old);
        // A main connection that speaks has all of its channels.
        let has_spoken = |group: &Group| open.iter().any(|seen| seen.is_main_of(group));
        let is_lost = |group: &Group| {
            all_old(group) || group.surplus(channels).is_some() && has_spoken(group)
        };
        let (mut lost, mut groups): (Vec<_>, Vec<_>) = pairing::groups(open, channels)
            .into_iter()
            .partition(is_lost);
        let heads = open
            .iter()
            .filter(|seen| matches!(seen.said, Said::Head(_)))
            .copied();
        let (mut lost_mains, mut mains): (Vec<_>, Vec<_>) = heads.partition(&is_old);
        loop {
            let found: Vec<_> = groups
                .extract_if(.., |group| {
                    lost_mains.iter().any(|main| main.is_main_of(group))
                })
                .collect();
            let heads: Vec<_> = mains
                .extract_if(.., |main| {
                    lost.iter()
                        .chain(&found)
                        .any(|group| main.is_main_of(group))
                })
                .collect();
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
        let has_main = |group: &Group| self.mains.iter().any(|main| main.is_main_of(group));
        let of_groups = self.groups.iter().map(|group| Refusal {
            uuid: Some(group.uuid),
            peer: group.first_peer,
            why: match (
                group.surplus(self.channels),
                group.channels.len(),
                has_main(group),
            ) {
                (Some(number), ..) => Why::Surplus {
                    number,
                    want: self.channels,
                },
                (None, got, _) if got < self.channels => Why::Missing {
                    got,
                    want: self.channels,
                },
                (None, _, false) => Why::NoMain,
                (None, _, true) => Why::InDoubt,
            },
            is_source: has_main(group),
        });
        let is_alone = |main: &&Seen| !self.groups.iter().any(|group| main.is_main_of(group));
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
        let channels = self
            .groups
            .iter()
            .flat_map(|group| group.channels.values().copied());
        channels
            .chain(self.mains.iter().map(|main| main.place))
            .collect()
    }
}
