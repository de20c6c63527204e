//! Which connections belong together.
//!
//! A channel's first packet names its guest and the channel's number. A main connection need not name its guest, but
//! a source makes it before its channels, and says something on it when all of them are made. So a main connection
//! that has spoken belongs to channels that were accepted behind it and before it spoke. Where several guests'
//! channels are there, nothing more can be known, and it is left undecided: guests are never mixed.

use std::collections::{BTreeMap, HashMap, HashSet};

use multifd_core::wire::Uuid;

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

/// The connections of one guest, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) uuid: Uuid,
    pub(super) main: u64,
    /// By number.
    pub(super) channels: Vec<u64>,
}

/// The channels of one guest, of one attempt to migrate it.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) uuid: Uuid,
    /// Places, by the channel's number.
    pub(super) channels: BTreeMap<u8, u64>,
    pub(super) first_peer: Peer,
    /// Of all channels, unless they differ.
    peer: Option<Peer>,
}

/// The channels among `seen`, by guest, and by who has made them: somebody else may claim to be of a guest. Only where
/// no peer has made all of so many `channels`, and none of them is there twice, are they one guest's whose address
/// changes.
fn groups(seen: &[Seen], channels: usize) -> Vec<Group> {
    let apart = attempts(seen, |group, connection| {
        group.first_peer == connection.peer
    });
    let together = attempts(seen, |_, _| true);
    let is_one = |uuid: Uuid| {
        let mut of_uuid = apart.iter().filter(|group| group.uuid == uuid);
        let is_twice = together.iter().filter(|group| group.uuid == uuid).count() > 1;
        !is_twice && of_uuid.all(|group| group.channels.len() < channels)
    };
    let (one, several): (Vec<_>, Vec<_>) = together
        .iter()
        .cloned()
        .partition(|group| is_one(group.uuid));
    let several: HashSet<Uuid> = several.into_iter().map(|group| group.uuid).collect();
    let apart = apart
        .iter()
        .filter(|group| several.contains(&group.uuid))
        .cloned();
    one.into_iter().chain(apart).collect()
}

/// The channels, by guest, where `is_alike` allows it; a number that comes again is of another attempt.
fn attempts(seen: &[Seen], is_alike: impl Fn(&Group, &Seen) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_guest: HashMap<Uuid, Vec<usize>> = HashMap::new();
    for connection in seen {
        let Said::Channel(init) = connection.said else {
            continue;
        };
        let of_guest = by_guest.entry(init.uuid).or_default();
        let lacking = of_guest.iter().copied().find(|at| {
            let group = groups.get(*at);
            group.is_some_and(|group| {
                !group.channels.contains_key(&init.channel) && is_alike(group, connection)
            })
        });
        if let Some(group) = lacking.and_then(|at| groups.get_mut(at)) {
            group.channels.insert(init.channel, connection.place);
            group.peer = group.peer.filter(|peer| *peer == connection.peer);
            continue;
        }
        of_guest.push(groups.len());
        groups.push(Group {
            uuid: init.uuid,
            channels: [(init.channel, connection.place)].into(),
            first_peer: connection.peer,
            peer: Some(connection.peer),
        });
    }
    groups
}

/// The guests among `seen`, which are in the order of their places, that have all of so many `channels` and
/// whose main connection is beyond doubt.
pub(super) fn guests(seen: &[Seen], channels: usize) -> Vec<Guest> {
    if !seen.iter().any(|seen| matches!(seen.said, Said::Head(_))) {
        // Only one that has spoken is known to be a guest's.
        return Vec::new();
    }
    let mut pairing = Pairing::new(seen, channels);
    let mut guests = Vec::new();
    // Each one that is decided may decide others.
    while let Some(guest) = pairing.next() {
        guests.push(guest);
    }
    guests
}

/// The channels of each guest among `seen`, with the places of what speaks and may be its main connection.
pub(super) fn possible(seen: &[Seen], channels: usize) -> Vec<(Group, Vec<u64>)> {
    let pairing = Pairing::new(seen, channels);
    let of = |group: &Group| {
        let spoken = |main: &&Seen| matches!(main.said, Said::Head(_));
        let mains = pairing.candidates(group).filter(spoken);
        mains.map(|main| main.place).collect()
    };
    let groups = pairing.groups.iter();
    groups.map(|group| (group.clone(), of(group))).collect()
}

/// What is still to be paired.
struct Pairing<'s> {
    seen: &'s [Seen],
    channels: usize,
    mains: Vec<&'s Seen>,
    groups: Vec<Group>,
}

impl<'s> Pairing<'s> {
    fn new(seen: &'s [Seen], channels: usize) -> Self {
        Self {
            seen,
            channels,
            mains: seen.iter().filter(|seen| seen.may_be_main()).collect(),
            groups: groups(seen, channels),
        }
    }

    fn next(&mut self) -> Option<Guest> {
        let is_clear = |group: &Group| self.is_whole(group) && !self.is_mixed(group);
        let mut clear = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, group)| is_clear(group));
        let (at, main) = clear.find_map(|(at, group)| Some((at, self.main_of(group)?.place)))?;
        self.mains.retain(|seen| seen.place != main);
        let group = self.groups.remove(at);
        Some(Guest {
            uuid: group.uuid,
            main,
            channels: group.channels.into_values().collect(),
        })
    }

    fn is_whole(&self, group: &Group) -> bool {
        let numbers = group.channels.keys().map(|number| usize::from(*number));
        numbers.eq(0..self.channels)
    }

    /// Whether channels of `group` may be of two guests that have the same name, or none, and the same address: then there
    /// are two such groups, and these overlap, or a main connection was made between the channels of one.
    fn is_mixed(&self, group: &Group) -> bool {
        let is_alike = |other: &&Group| other.uuid == group.uuid && other.peer == group.peer;
        let alike: Vec<&Group> = self.groups.iter().filter(is_alike).collect();
        let is_inside = |place: u64, group: &Group| group.first() < place && place < group.last();
        let overlaps = |one: &&Group| {
            let mut others = alike.iter().filter(|other| !other.is(one));
            others.any(|other| is_inside(other.first(), one) || is_inside(other.last(), one))
        };
        let mut mains = self.seen.iter().filter(|seen| seen.may_be_main());
        let has_main = mains.any(|main| alike.iter().any(|group| is_inside(main.place, group)));
        alike.len() > 1 && (has_main || alike.iter().any(overlaps))
    }

    /// The main connection of `group`, if there is no doubt.
    fn main_of(&self, group: &Group) -> Option<&Seen> {
        if self.candidates(group).next().is_none() {
            return self.late_main_of(group);
        }
        let is_claim = |main: &&Seen| self.is_only_of(main, group);
        let claims: Vec<&Seen> = self.candidates(group).filter(is_claim).collect();
        let is_named = |main: &&Seen| main.said == Said::Head(Some(group.uuid));
        let (named, others): (Vec<&Seen>, Vec<&Seen>) = claims.into_iter().partition(is_named);
        match (named.as_slice(), others.as_slice()) {
            (&[named], _) => Some(named),
            // Another one would have spoken by then.
            (&[], &[claim]) if claim.settled || self.is_alone(claim, group) => Some(claim),
            _ => None,
        }
    }

    /// The main connection of `group` if it has come behind a channel: another way through the network may take
    /// longer. Only what is alone can be known so.
    fn late_main_of(&self, group: &Group) -> Option<&Seen> {
        let mut mains = self.mains.iter().filter(|main| !main.is_stranger());
        let main = mains.next().filter(|main| {
            main.settled && matches!(main.said, Said::Head(_)) && main.is_named_as(group)
        })?;
        let is_all = mains.next().is_none() && self.groups.len() == 1;
        (is_all && group.channels.values().all(|place| *place <= main.until)).then_some(main)
    }

    /// What can be the main connection of `group`. Where one is of the same peer, it is no other.
    fn candidates(&self, group: &Group) -> impl Iterator<Item = &Seen> {
        let near = |main: &Seen| Some(main.peer) == group.peer;
        let fitting = |main: &&&Seen| main.fits(group);
        let is_near = self.mains.iter().filter(fitting).any(|main| near(main));
        let mains = self.mains.iter().filter(fitting).copied();
        mains.filter(move |main| near(main) || !is_near && !self.has_near(main))
    }

    /// Whether there are channels of the same peer that can be those of `main`.
    fn has_near(&self, main: &Seen) -> bool {
        let mut near = self
            .groups
            .iter()
            .filter(|group| group.peer == Some(main.peer));
        near.any(|group| main.fits(group))
    }

    /// Whether `main` has said that its channels are there, and those can only be the ones of `group`.
    fn is_only_of(&self, main: &Seen, group: &Group) -> bool {
        match main.said {
            // Somebody else may claim to be the same guest.
            Said::Head(Some(uuid)) => {
                let mut others = self.groups.iter().filter(|other| !other.is(group));
                return uuid == group.uuid && !others.any(|other| self.is_candidate(main, other));
            }
            Said::Head(None) => {}
            _ => return false,
        }
        // They may have been accepted and not have spoken.
        let silent = self.seen.iter().filter(|seen| seen.may_be_channel());
        let silent = silent.filter(|seen| main.may_have(seen.place)).count();
        let others = self.groups.iter().filter(|other| !other.is(group));
        let mut others = others.filter(|other| {
            let missing = self.channels.saturating_sub(other.channels.len());
            main.fits(other) && missing <= silent && self.is_candidate(main, other)
        });
        // Those of a guest that is not known yet, if this one's main connection can be another one.
        let unknown = silent >= self.channels;
        let is_sole = self
            .candidates(group)
            .all(|other| other.place == main.place);
        others.next().is_none() && (!unknown || is_sole)
    }

    fn is_candidate(&self, main: &Seen, group: &Group) -> bool {
        self.candidates(group).any(|seen| seen.place == main.place)
    }

    /// Whether there is nothing else that could be of a guest.
    fn is_alone(&self, main: &Seen, group: &Group) -> bool {
        self.seen.iter().all(|seen| {
            seen.place == main.place || group.channels.values().any(|place| *place == seen.place)
        })
    }
}

impl Seen {
    fn may_be_main(&self) -> bool {
        matches!(self.said, Said::Nothing | Said::Magic | Said::Head(_))
    }

    /// Whether the guest that it names is this one, if it names one.
    fn is_named_as(&self, group: &Group) -> bool {
        !matches!(self.said, Said::Head(Some(uuid)) if uuid != group.uuid)
    }

    /// Whether it has been silent for too long.
    fn is_stranger(&self) -> bool {
        self.said == Said::Nothing && !self.settled
    }

    fn may_be_channel(&self) -> bool {
        matches!(self.said, Said::Handshake | Said::Nothing) && self.settled
    }

    /// Whether a connection of this place can be a channel of this main connection.
    fn may_have(&self, place: u64) -> bool {
        let until = match self.said {
            Said::Head(_) => self.until,
            _ => u64::MAX,
        };
        self.place < place && place <= until
    }

    /// Whether `group`, as far as it is there, can be of this main connection.
    fn fits(&self, group: &Group) -> bool {
        self.is_named_as(group) && group.channels.values().all(|place| self.may_have(*place))
    }
}

impl Group {
    /// A number that there is no channel for where there are to be so many `channels`.
    pub(super) fn surplus(&self, channels: usize) -> Option<u8> {
        let mut numbers = self.channels.keys().copied();
        numbers.find(|number| usize::from(*number) >= channels)
    }

    fn first(&self) -> u64 {
        self.channels.values().min().copied().unwrap_or_default()
    }

    fn last(&self) -> u64 {
        self.channels.values().max().copied().unwrap_or_default()
    }

    fn is(&self, other: &Self) -> bool {
        self.channels == other.channels
    }
}
