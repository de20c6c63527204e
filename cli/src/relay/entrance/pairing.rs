// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which connections belong together.
//!
//! A channel's first packet names its guest and the channel's number. A main connection need not name its guest, but
//! a source makes it before its channels, and says something on it when all of them are made. So a main connection
//! that has spoken belongs to channels that were accepted behind it and before it spoke. Where several guests'
//! channels are there, nothing more can be known, and it is left undecided: guests are never mixed.

use std::collections::HashSet;

use multifd_core::wire::Uuid;

use super::candidates::Candidates;
use super::group::Group;
use super::said::Said;
use super::seen::Seen;

/// The connections of one guest, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) uuid: Uuid,
    pub(super) main: u64,
    /// By number.
    pub(super) channels: Vec<u64>,
}

/// The guests among `seen`, which are in the order of their places, that have all of so many `channels` and whose main
/// connection is beyond doubt. Of many it finds some, and the others once these are taken out.
pub(super) fn guests(seen: &[Seen], channels: usize) -> Vec<Guest> {
    if !seen.iter().any(Seen::has_spoken) {
        // Only one that has spoken is known to be a guest's.
        return Vec::new();
    }
    let mut candidates = Candidates::new(seen, channels);
    let mut guests = Vec::new();
    // Those that are decided may decide others.
    for _ in 0..MOST_LOOKS {
        let clear = Pairing::new(&candidates).clear();
        let taken = candidates.take(&clear);
        if taken.is_empty() {
            break;
        }
        guests.extend(taken.into_iter().map(|(main, group)| Guest {
            uuid: group.uuid,
            main: main.place,
            channels: group.channels.into_values().collect(),
        }));
    }
    guests
}

/// What can be said of main connections and groups that are still to be paired.
struct Pairing<'c, 's> {
    of: &'c Candidates<'s>,
    /// For each group, how many main connections can be its own.
    mains: Vec<usize>,
    /// For each main connection, how many groups can be its own, as far as they are named alike and may be whole.
    groups: Vec<usize>,
    /// Groups whose channels may be of two guests.
    mixed: HashSet<usize>,
}

impl<'c, 's> Pairing<'c, 's> {
    fn new(of: &'c Candidates<'s>) -> Self {
        let mut mains = vec![0; of.groups().len()];
        let mut groups = vec![0; of.mains().len()];
        for (at, main) in of.mains().iter().enumerate() {
            for group in of.groups_of(at) {
                if let Some(count) = mains.get_mut(group) {
                    *count += 1;
                }
                if let Some(count) = groups.get_mut(at)
                    && of.may_be_whole(main, group)
                {
                    *count += 1;
                }
            }
        }
        Self {
            of,
            mains,
            groups,
            mixed: of.mixed(),
        }
    }

    /// Main connections and groups that belong together beyond doubt, by their numbers.
    fn clear(&self) -> Vec<(usize, usize)> {
        let mut claims: Vec<Vec<usize>> = vec![Vec::new(); self.of.groups().len()];
        for (at, main) in self.of.mains().iter().enumerate() {
            let groups = self.groups.get(at);
            if !main.has_spoken() || groups != Some(&1) {
                continue;
            }
            for group in self.of.groups_of(at) {
                if self.is_claim(main, group)
                    && let Some(claims) = claims.get_mut(group)
                {
                    claims.push(at);
                }
            }
        }
        let groups = self.of.groups().iter().zip(claims).enumerate();
        let whole =
            groups.filter(|(at, (group, _))| self.of.is_whole(group) && !self.mixed.contains(at));
        let mut taken = HashSet::new();
        whole
            .filter_map(|(at, (group, claims))| {
                let main = match self.mains.get(at) {
                    Some(0) => self.late_main_of(group),
                    _ => self.main_among(&claims, (at, group)),
                };
                Some((main?, at))
            })
            .filter(|(main, _)| taken.insert(*main))
            .collect()
    }

    /// Whether a main connection that has only one group may have no other one that is not known yet.
    fn is_claim(&self, main: &Seen, group: usize) -> bool {
        let is_named = matches!(main.said, Said::Head(Some(_)));
        // Those of a guest that is not known yet, if this one's main connection can be another one.
        let unknown = self.of.silent(main) >= self.of.channels();
        self.of.may_be_whole(main, group)
            && (is_named || !unknown || self.mains.get(group) == Some(&1))
    }

    /// The main connection of `group` among those that can have no other, if there is no doubt.
    fn main_among(&self, claims: &[usize], (at, group): (usize, &Group)) -> Option<usize> {
        let main = |at: usize| self.of.mains().get(at).copied();
        let is_named = |claim: &&usize| {
            main(**claim).is_some_and(|main| main.said == Said::Head(Some(group.uuid)))
        };
        let (named, others): (Vec<&usize>, Vec<&usize>) = claims.iter().partition(is_named);
        match (named.as_slice(), others.as_slice()) {
            (&[named], _) => Some(*named),
            // Another one would have spoken by then, or may speak yet.
            (&[], &[claim]) => {
                let is_sure = main(*claim).is_some_and(|main| main.settled);
                let mut mains = self.of.mains_of(at).filter_map(main);
                let is_sure = is_sure && !mains.any(|other| other.speaks_yet());
                (is_sure || self.of.is_alone(group)).then_some(*claim)
            }
            _ => None,
        }
    }

    /// The main connection of `group` if it has come behind a channel: another way through the network may take
    /// longer. Only what is alone can be known so.
    fn late_main_of(&self, group: &Group) -> Option<usize> {
        if self.of.groups().len() != 1 {
            return None;
        }
        let mains = self.of.mains().iter().enumerate();
        let mut mains = mains.filter(|(_, main)| !main.is_stranger());
        let (at, main) = mains.next()?;
        let may_be = main.settled && main.has_spoken() && group.is_named_by(main);
        (may_be && mains.next().is_none() && group.last <= main.until).then_some(at)
    }
}

/// How often one call looks for what was decided by what it has found.
const MOST_LOOKS: usize = 8;
