// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that break, and parties that give up: the guest is never at both ends.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use multifd_core::transport::{Transport, send_all};
use multifd_core::wire::{InitPacket, Uuid};
use multifd_core::{AbortHandle, ChannelId, Error, Fault, Side};
use multifd_migration::source::GuestAfter;
use multifd_migration::{HostError, Relay, RelayConfig, RelayHost};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{self, Ending, Endpoint, Link, Watchdog};

use crate::rig::{Onward, Outcome, Running, Setup, method};

/// Where the source says that the guest is must be where it is. A connection that breaks in the moment
/// of the handover may leave the source in doubt, but never both with it.
#[track_caller]
fn assert_at_most_once(outcome: &Outcome, seed: u64) {
    match &outcome.source {
        Ok(_) => {
            assert!(outcome.complete, "seed {seed}");
            outcome.assert_same_memory();
        }
        Err(failure) => {
            let runs_there = outcome.destination.is_ok();
            let here = failure.guest == GuestAfter::Here;
            assert!(!(here && runs_there), "seed {seed}: {}", failure.error);
        }
    }
}

#[test]
fn a_cut_anywhere() {
    let _watchdog = Watchdog::with_limit(Duration::from_secs(180));
    let mut migrated = 0;
    for seed in 0..120 {
        let mut random = PageSource::new(seed);
        let hops = [("none", 2), ("zstd", 2), ("none", 2)];
        let mut setup = Setup::new(&hops[..2 + random.below(2)]);
        setup.wait_for_source(Duration::from_secs(3));
        setup.blocks = vec![("ram", 200)];
        setup.seed = seed;
        let victim = (random.below(setup.hops.len()), random.below(3));
        let forth = random.below(3) > 0 || victim.1 > 0;
        // The main connection has fewer bytes than the others, and the way back fewest.
        let most = match (victim.1, forth) {
            (0, true) => 600,
            (0, false) => 60,
            _ => 450_000,
        };
        let cut = random.below(most) as u64;
        let ending = [Ending::Eof, Ending::Reset][random.below(2)];
        setup.links = Box::new(move |hop, connection| {
            let link = |is_victim| match is_victim {
                true => Link::default().cut_after(cut, ending),
                false => Link::default(),
            };
            let is_victim = (hop, connection) == victim;
            (link(is_victim && forth), link(is_victim && !forth))
        });
        let outcome = setup.run();
        migrated += usize::from(outcome.source.is_ok());
        assert_at_most_once(&outcome, seed);
    }
    // Behind the end there is nothing to cut; but most of it is before the end.
    assert!(migrated < 60, "{migrated}");
}

#[test]
fn an_abort_of_anybody_at_any_time() {
    let _watchdog = Watchdog::with_limit(Duration::from_secs(180));
    for seed in 0..60 {
        let mut random = PageSource::new(seed);
        let mut setup = Setup::new(&[("none", 2), ("zstd", 2)]);
        setup.wait_for_source(Duration::from_secs(3));
        setup.blocks = vec![("ram", 200)];
        setup.seed = seed;
        let (who, hop, at) = (random.below(3), random.below(2), random.below(300_000));
        let outcome = setup.run_with(|running: Running| {
            let tap = running.taps[hop][1].forth.clone();
            let deadline = std::time::Instant::now() + Duration::from_millis(200);
            while tap.received() < at as u64 && std::time::Instant::now() < deadline {
                thread::yield_now();
            }
            match who {
                0 => drop(running.source.map(|source| source.cancel())),
                1 => running.relays[0].abort(),
                _ => running.destination.abort(),
            }
        });
        assert_at_most_once(&outcome, seed);
    }
}

#[test]
fn a_relay_that_is_aborted_tells_the_source() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("none", 2)]);
    // The destination gets no more than the first pages.
    setup.links = Box::new(|hop, connection| match (hop, connection) {
        (1, 1) => (Link::default().hold_after(10_000), Link::default()),
        _ => (Link::default(), Link::default()),
    });
    let outcome = setup.run_with(|running| {
        let held = &running.taps[1][1].forth;
        held.wait_sender_blocked();
        running.relays[0].abort();
        held.release();
    });
    outcome.assert_failed();
    assert_eq!(outcome.relay_error(), "migration aborted");
    let text = outcome.source.as_ref().unwrap_err().error.to_string();
    assert!(
        text.contains("SHUT 1") || text.contains("closed the connection"),
        "{text}"
    );
}

#[test]
fn a_source_that_gives_up_is_known_to_the_destination() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("none", 2)]);
    setup.links = Box::new(|hop, connection| match (hop, connection) {
        (0, 1) => (Link::default().hold_after(10_000), Link::default()),
        _ => (Link::default(), Link::default()),
    });
    let outcome = setup.run_with(|running| {
        let held = &running.taps[0][1].forth;
        held.wait_sender_blocked();
        assert!(running.source.unwrap().cancel());
        held.release();
    });
    outcome.assert_failed();
    let error = outcome.relays[0].as_ref().unwrap_err();
    assert_eq!(error.place().side, Some(Side::RelayIn), "{error}");
    let error = outcome.destination.as_ref().unwrap_err();
    assert_eq!(error.error.fault(), Fault::Connection, "{error}");
}

/// A relay, and a source of two channels that has said no more than who and what it is.
pub(crate) fn met() -> (Relay, Vec<Endpoint>) {
    let relay = Relay::new(RelayConfig::default(), method("none"), method("none"));
    let mut source = Vec::new();
    for channel in 0..3_u8 {
        let (mut here, there, _) = network::pair(Link::default(), Link::default());
        let init = InitPacket {
            uuid: Uuid::default(),
            channel: channel.saturating_sub(1),
        };
        let bytes = match channel {
            // And what machine it is: behind that comes something else than a part of it.
            0 => b"QEVM\0\0\0\x03\x07\0\0\0\x04none\x08".to_vec(),
            _ => init.encode().to_vec(),
        };
        send_all(&mut here, &mut [bytes.as_slice().into()]).unwrap();
        relay.accept(Box::new(there)).unwrap();
        source.push(here);
    }
    (relay, source)
}

#[test]
fn a_destination_that_cannot_be_reached() {
    let _watchdog = Watchdog::start();
    let (relay, _source) = met();
    let error = relay.run(&mut Onward(VecDeque::new())).unwrap_err().error;
    assert_eq!(error.place().side, Some(Side::RelayOut));
    assert_eq!(
        error.to_string(),
        "relay, destination side: nobody is there"
    );
}

/// Fails while the relay connects to the destination, which fails for that.
struct Interrupted(AbortHandle);

impl RelayHost for Interrupted {
    fn connect(
        &mut self,
        _uuid: Uuid,
        _channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        self.0.fail(Error::new(Fault::Peer, "the source is wrong"));
        Err("interrupted".into())
    }
}

#[test]
fn the_first_error_is_the_error() {
    let _watchdog = Watchdog::start();
    let (relay, _source) = met();
    let error = relay.run(&mut Interrupted(relay.abort_handle()));
    assert_eq!(error.unwrap_err().to_string(), "the source is wrong");
}
