//! Which connections belong together.
//!
//! A channel's first packet names its guest and the channel's number. A main connection need not name its guest, but
//! a source makes it before its channels, and says something on it when all of them are made. So a main connection
//! that has spoken belongs to channels that were accepted behind it and before it spoke. Where several guests'
//! channels are there, nothing more can be known, and it is left undecided: guests are never mixed.

use std::collections::BTreeMap;

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

/// The channels among `seen`, by guest.
pub(super) fn groups(seen: &[Seen]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for connection in seen {
        let Said::Channel(init) = connection.said else {
            continue;
        };
        let lacks = |group: &&mut Group| {
            group.uuid == init.uuid && !group.channels.contains_key(&init.channel)
        };
        if let Some(group) = groups.iter_mut().find(lacks) {
            group.channels.insert(init.channel, connection.place);
            group.peer = group.peer.filter(|peer| *peer == connection.peer);
            continue;
        }
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
    let mut pairing = Pairing {
        seen,
        channels,
        mains: seen.iter().filter(|seen| seen.may_be_main()).collect(),
        groups: groups(seen),
    };
    let mut guests = Vec::new();
    // Each one that is decided may decide others.
    while let Some(guest) = pairing.next() {
        guests.push(guest);
    }
    guests
}

/// What is still to be paired.
struct Pairing<'s> {
    seen: &'s [Seen],
    channels: usize,
    mains: Vec<&'s Seen>,
    groups: Vec<Group>,
}

impl Pairing<'_> {
    fn next(&mut self) -> Option<Guest> {
        let mut whole = self
            .groups
            .iter()
            .enumerate()
            .filter(|(_, group)| self.is_whole(group));
        let (at, main) = whole.find_map(|(at, group)| Some((at, self.main_of(group)?.place)))?;
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

    /// The main connection of `group`, if there is no doubt.
    fn main_of(&self, group: &Group) -> Option<&Seen> {
        let name = Said::Head(Some(group.uuid));
        if let Some(named) = self.mains.iter().find(|main| main.said == name) {
            return Some(named);
        }
        if self.candidates(group).next().is_none() {
            return self.late_main_of(group);
        }
        let mut claims = self
            .candidates(group)
            .filter(|main| self.is_only_of(main, group));
        let claim = claims.next().filter(|_| claims.next().is_none())?;
        // Another one would have spoken by then.
        (claim.settled || self.is_alone(claim, group)).then_some(claim)
    }

    /// The main connection of `group` if it has come behind a channel: another way through the network may take
    /// longer. Only what is alone can be known so.
    fn late_main_of(&self, group: &Group) -> Option<&Seen> {
        let mut mains = self.mains.iter().filter(|main| !main.is_stranger());
        let main = mains
            .next()
            .filter(|main| main.settled && matches!(main.said, Said::Head(None)))?;
        let is_all = mains.next().is_none() && self.groups.len() == 1;
        (is_all && group.channels.values().all(|place| *place <= main.until)).then_some(main)
    }

    /// What can be the main connection of `group`.
    fn candidates(&self, group: &Group) -> impl Iterator<Item = &Seen> {
        let fitting = |main: &&&Seen| main.fits(group);
        let near = |main: &Seen| Some(main.peer) == group.peer;
        let is_near = self.mains.iter().filter(fitting).any(|main| near(main));
        let mains = self.mains.iter().filter(fitting).copied();
        mains.filter(move |main| !is_near || near(main))
    }

    /// Whether `main` has said that its channels are there, and those can only be the ones of `group`.
    fn is_only_of(&self, main: &Seen, group: &Group) -> bool {
        if main.said != Said::Head(None) {
            return false;
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
    pub(super) fn may_be_main(&self) -> bool {
        matches!(self.said, Said::Nothing | Said::Magic | Said::Head(_))
    }

    /// Whether it has been silent for too long.
    fn is_stranger(&self) -> bool {
        self.said == Said::Nothing && !self.settled
    }

    /// Whether it speaks, and may be the main connection of `group` as far as that is there.
    pub(super) fn is_main_of(&self, group: &Group) -> bool {
        matches!(self.said, Said::Head(_)) && self.fits(group)
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
        if let Said::Head(Some(uuid)) = self.said {
            return uuid == group.uuid;
        }
        group.channels.values().all(|place| self.may_have(*place))
    }
}

impl Group {
    fn is(&self, other: &Self) -> bool {
        self.channels == other.channels
    }
}
