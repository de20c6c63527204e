// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests whose connections come in any order.

use multifd_core::wire::{InitPacket, Uuid};
use multifd_tests::streams::Random;

use super::hopeless::Hopeless;
use super::pairing::{Guest, guests};
use super::refusal::Why;
use super::said::Said;
use super::seen::Seen;
use crate::net::peer::Peer;

const HOST: Peer = Peer::Host(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn uuid(guest: u8) -> Uuid {
    Uuid([guest; 16])
}

fn channel(guest: u8, channel: u8) -> Said {
    Said::Channel(InitPacket {
        uuid: uuid(guest),
        channel,
    })
}

/// Connections in the order of their places; a head has been heard when all of them were there, and long ago.
fn all_there(said: &[Said]) -> Vec<Seen> {
    let last = said.len() as u64 - 1;
    let seen = said.iter().zip(0..).map(|(said, place)| Seen {
        place,
        peer: HOST,
        said: *said,
        until: last,
        settled: true,
    });
    seen.collect()
}

fn mains(seen: &[Seen], channels: usize) -> Vec<(u64, Uuid)> {
    let guests = guests(seen, channels);
    guests
        .into_iter()
        .map(|guest| (guest.main, guest.uuid))
        .collect()
}

const HEAD: Said = Said::Head(None);

#[test]
fn order_tells_guests_apart_that_begin_one_after_the_other() {
    let seen = all_there(&[
        HEAD,
        channel(1, 0),
        channel(1, 1),
        HEAD,
        channel(2, 1),
        channel(2, 0),
    ]);
    let found = guests(&seen, 2);
    let guest = |guest, main, channels: [u64; 2]| Guest {
        uuid: uuid(guest),
        main,
        channels: channels.into(),
    };
    assert_eq!(found, [guest(2, 3, [5, 4]), guest(1, 0, [1, 2])]);
}

#[test]
fn a_name_tells_guests_apart_that_begin_together() {
    let named = |guest| Said::Head(Some(uuid(guest)));
    let mut said = [named(2), HEAD, channel(1, 0), channel(2, 0)];
    assert_eq!(mains(&all_there(&said), 1), [(0, uuid(2)), (1, uuid(1))]);
    said[0] = HEAD;
    assert_eq!(mains(&all_there(&said), 1), []);
}

#[test]
fn who_has_spoken_while_others_lacked_channels_has_its_own() {
    let said = [HEAD, HEAD, channel(1, 0), channel(2, 0)];
    let mut seen = all_there(&said);
    seen[1].until = 2;
    assert_eq!(mains(&seen, 1), [(1, uuid(1)), (0, uuid(2))]);
}

#[test]
fn silent_connections_delay_nobody_for_long() {
    let said = [
        Said::Nothing,
        HEAD,
        Said::Nothing,
        channel(1, 0),
        Said::Nothing,
    ];
    let mut seen = all_there(&said);
    // The last and the one in the middle may be channels of a guest whose main connection speaks, and the first
    // the main connection of this one.
    assert_eq!(mains(&seen, 1), []);
    for silent in [0, 2, 4] {
        seen[silent].settled = false;
    }
    assert_eq!(mains(&seen, 1), [(1, uuid(1))]);
    // Another main connection would say something soon.
    seen[1].settled = false;
    assert_eq!(mains(&seen, 1), []);
}

#[test]
fn a_main_connection_may_come_behind_its_channels_if_it_is_alone() {
    let said = [channel(1, 0), HEAD, channel(1, 1)];
    assert_eq!(mains(&all_there(&said), 2), [(1, uuid(1))]);
    let said = [channel(1, 0), HEAD, channel(1, 1), HEAD];
    assert_eq!(mains(&all_there(&said), 2), []);
}

#[test]
fn hosts_tell_guests_apart() {
    let other = Peer::Host(std::net::IpAddr::V4(std::net::Ipv4Addr::BROADCAST));
    let mut seen = all_there(&[HEAD, HEAD, channel(1, 0), channel(2, 0)]);
    (seen[0].peer, seen[3].peer) = (other, other);
    assert_eq!(mains(&seen, 1), [(1, uuid(1)), (0, uuid(2))]);
}

/// Sources that do what sources do, in a random order, among strangers that do as they like.
struct Play {
    random: Random,
    channels: u8,
    named: bool,
    seen: Vec<Seen>,
    /// The guest of each place; 0 for a stranger.
    whose: Vec<u8>,
    /// What each source does next.
    sources: Vec<Source>,
    decided: Vec<u8>,
}

#[derive(Clone, Default)]
struct Source {
    main: Option<usize>,
    connected: Vec<usize>,
    said: u8,
    spoken: bool,
}

impl Play {
    fn new(seed: u64, guests: usize) -> Self {
        let mut random = Random::new(seed);
        Self {
            channels: [1, 2, 3][random.below(3)],
            named: random.below(2) == 0,
            random,
            seen: Vec::new(),
            whose: Vec::new(),
            sources: vec![Source::default(); guests],
            decided: Vec::new(),
        }
    }

    fn accept(&mut self, whose: u8) -> usize {
        let place = self.seen.len();
        for seen in &mut self.seen {
            // It is heard a little later than it is said.
            seen.until += u64::from(!seen.settled || !matches!(seen.said, Said::Head(_)));
        }
        self.seen.push(Seen {
            place: place as u64,
            peer: HOST,
            said: Said::Nothing,
            until: place as u64,
            settled: true,
        });
        self.whose.push(whose);
        place
    }

    /// One step of one source, or of a stranger; false when there are none left.
    fn step(&mut self) -> bool {
        if self.random.below(12) == 0 && self.seen.len() < 40 {
            self.accept(0);
        }
        let done = |source: &Source| source.spoken && source.said == self.channels;
        let open: Vec<usize> = (0..self.sources.len())
            .filter(|at| !done(&self.sources[*at]))
            .collect();
        if open.is_empty() {
            return false;
        }
        let at = open[self.random.below(open.len())];
        let whose = u8::try_from(at).unwrap() + 1;
        let channels = usize::from(self.channels);
        let source = self.sources[at].clone();
        let Some(main) = source.main else {
            self.sources[at].main = Some(self.accept(whose));
            return true;
        };
        let may_speak = source.connected.len() == channels && !source.spoken;
        let may_say = usize::from(source.said) < source.connected.len();
        match self.random.below(3) {
            0 if source.connected.len() < channels => {
                let place = self.accept(whose);
                self.sources[at].connected.push(place);
            }
            1 if may_say => {
                self.seen[source.connected[usize::from(source.said)]].said =
                    channel(whose, source.said);
                self.sources[at].said += 1;
            }
            2 if may_speak => {
                let name = self.named.then_some(uuid(whose));
                self.seen[main].said = Said::Head(name);
                self.seen[main].until = self.seen.len() as u64 - 1;
                self.seen[main].settled = self.random.below(2) == 0;
                self.sources[at].spoken = true;
            }
            _ => {}
        }
        true
    }

    /// Takes the guests that are known.
    fn decide(&mut self) {
        for guest in guests(&self.seen, usize::from(self.channels)) {
            let places = guest.channels.iter().chain([&guest.main]);
            for place in places {
                let whose = self.whose[usize::try_from(*place).unwrap()];
                assert_eq!(uuid(whose), guest.uuid, "{guest:?} of {:?}", self.seen);
                self.seen
                    .iter_mut()
                    .find(|seen| seen.place == *place)
                    .unwrap()
                    .said = Said::End;
            }
            self.decided.push(guest.uuid.0[0]);
        }
    }
}

#[test]
fn guests_are_never_mixed() {
    let mut decided = [0, 0];
    for seed in 0..3000 {
        let mut play = Play::new(seed, 3);
        while play.step() {
            play.decide();
        }
        // In the end those who are silent are strangers.
        for seen in &mut play.seen {
            seen.settled = seen.said != Said::Nothing;
        }
        play.decide();
        if play.named {
            assert_eq!(play.decided.len(), 3, "seed {seed}");
        }
        decided[usize::from(play.named)] += play.decided.len();
    }
    // Without a name not all are known, but many.
    assert!(decided[0] > 1000, "{decided:?}");
}

#[test]
fn doubt_takes_all_that_it_is_about() {
    let said = [
        HEAD,
        HEAD,
        channel(1, 0),
        channel(2, 0),
        HEAD,
        channel(3, 0),
    ];
    let mut seen = all_there(&said);
    for main in &mut seen[..2] {
        main.until = 3;
    }
    // Only one channel is old.
    let hopeless = Hopeless::among(&seen, 1, |seen| seen.place == 2);
    let mut places = hopeless.places();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3]);
    let of: Vec<_> = hopeless
        .refusals()
        .iter()
        .map(|refusal| (refusal.uuid, refusal.why))
        .collect();
    assert_eq!(
        of,
        [(Some(uuid(1)), Why::InDoubt), (Some(uuid(2)), Why::InDoubt)]
    );
}

#[test]
fn what_is_missing_is_named() {
    let seen = all_there(&[HEAD, channel(1, 0), channel(2, 0), channel(2, 1)]);
    let refusals = Hopeless::among(&seen, 2, |_| true).refusals();
    let of: Vec<_> = refusals.iter().map(|refusal| refusal.why).collect();
    assert_eq!(of, [Why::Missing { got: 1, want: 2 }, Why::InDoubt]);
    let alone = Hopeless::among(&all_there(&[HEAD]), 2, |_| true).refusals();
    assert_eq!(alone[0].why, Why::NoChannels);
    let headless = Hopeless::among(&all_there(&[channel(1, 0)]), 1, |_| true).refusals();
    assert!(headless[0].why == Why::NoMain && !headless[0].is_source);
}

const STRANGER: Peer = Peer::Host(std::net::IpAddr::V4(std::net::Ipv4Addr::BROADCAST));

/// Somebody else claims to be the same guest, with these words, before or between those of a source.
fn beside_a_stranger(head: Said, claims: &[Said], at: usize) -> Vec<(u64, Uuid)> {
    let mut said = vec![head, channel(1, 0), channel(1, 1)];
    said.splice(at..at, claims.iter().copied());
    let mut seen = all_there(&said);
    for seen in &mut seen[at..at + claims.len()] {
        seen.peer = STRANGER;
    }
    mains(&seen, 2)
}

#[test]
fn nobody_else_takes_the_place_of_a_channel() {
    for head in [HEAD, Said::Head(Some(uuid(1)))] {
        for claims in [&[channel(1, 0)][..], &[channel(1, 0), channel(1, 1)]] {
            for at in 0..=3 {
                let main = u64::try_from(if at == 0 { claims.len() } else { 0 }).unwrap();
                let guests = beside_a_stranger(head, claims, at);
                assert_eq!(guests, [(main, uuid(1))], "{head:?} {claims:?} at {at}");
            }
        }
    }
}

#[test]
fn nobody_else_takes_the_place_of_a_main_connection() {
    for claim in [HEAD, Said::Head(Some(uuid(1)))] {
        for at in 0..=3 {
            let main = u64::from(at == 0);
            let guests = beside_a_stranger(Said::Head(Some(uuid(1))), &[claim], at);
            assert_eq!(guests, [(main, uuid(1))], "{claim:?} at {at}");
        }
    }
}

#[test]
fn guests_without_a_name_may_come_one_after_the_other() {
    let said = [
        HEAD,
        channel(0, 0),
        channel(0, 1),
        HEAD,
        channel(0, 1),
        channel(0, 0),
    ];
    assert_eq!(mains(&all_there(&said), 2), [(3, uuid(0)), (0, uuid(0))]);
}

#[test]
fn who_cannot_be_told_apart_is_not() {
    // From the same address, both alive.
    let named = Said::Head(Some(uuid(1)));
    let twice = [named, channel(1, 0), channel(1, 0)];
    assert_eq!(mains(&all_there(&twice), 1), []);
    // The last two may be of the first, in part.
    let overlapping = [
        HEAD,
        channel(0, 0),
        HEAD,
        channel(0, 1),
        channel(0, 0),
        channel(0, 1),
    ];
    assert_eq!(mains(&all_there(&overlapping), 2), []);
    let two_mains = [named, named, channel(1, 0)];
    assert_eq!(mains(&all_there(&two_mains), 1), []);
}

#[test]
fn a_channel_too_many_is_known_with_the_main_connection() {
    let said = [HEAD, channel(1, 2), channel(1, 0), channel(1, 1)];
    let refusals = |seen: &[Seen]| Hopeless::among(seen, 2, |_| false).refusals();
    let refused = refusals(&all_there(&said));
    assert_eq!(refused[0].why, Why::Surplus { number: 2, want: 2 });
    assert!(refused[0].is_source && refused.len() == 1);
    // Until it speaks, others may be to come.
    let mut silent = all_there(&said);
    silent[0].said = Said::Nothing;
    assert!(refusals(&silent).is_empty());
}

#[test]
fn what_a_stranger_holds_is_nobody_elses_doubt() {
    for claim in [channel(0, 2), channel(0, 0)] {
        let mut seen = all_there(&[HEAD, claim, channel(0, 0), channel(0, 1)]);
        (seen[1].peer, seen[0].settled) = (STRANGER, false);
        let hopeless = Hopeless::among(&seen, 2, |seen| seen.place == 1);
        assert_eq!(hopeless.places(), [1]);
    }
}

/// Somebody says the head of a main stream, has no channels, and was there first; the source's main connection speaks
/// late.
#[test]
fn whoever_speaks_first_does_not_get_the_channels_of_another() {
    for silent in [Said::Magic, Said::Nothing] {
        let mut seen = all_there(&[HEAD, silent, channel(1, 0), channel(1, 1)]);
        assert_eq!(mains(&seen, 2), [], "{silent:?}");
        seen[1].said = Said::Head(Some(uuid(1)));
        assert_eq!(mains(&seen, 2), [(1, uuid(1))], "{silent:?}");
    }
}
