// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that reach the destination.

use migration_params::ZeroPageDetection;
use multifd_core::{DeviceState, Side};
use multifd_migration::GuestHere;
use multifd_migration::stream::{DeviceSection, SyncMode};
use multifd_tests::network::{Link, Pieces, Watchdog};

use crate::rig::{Outcome, Setup};

/// All links, with what goes over them kept.
fn recorded(setup: &mut Setup) {
    setup.links = Box::new(|_, _| (Link::default().recorded(), Link::default().recorded()));
}

/// What the source says on the main connection is what the destination hears, and back.
#[track_caller]
fn assert_verbatim(outcome: &Outcome) {
    let first = &outcome.main[0];
    for hop in &outcome.main[1..] {
        assert!(hop.forth.bytes() == first.forth.bytes());
        assert!(hop.back.bytes() == first.back.bytes());
    }
}

#[test]
fn through_one_relay() {
    let _watchdog = Watchdog::start();
    for hops in [
        [("none", 2), ("none", 2)],
        [("none", 1), ("zstd", 4)],
        [("zlib", 3), ("qatzip", 1)],
        [("zstd", 16), ("none", 2)],
    ] {
        let mut setup = Setup::new(&hops);
        recorded(&mut setup);
        let outcome = setup.run();
        outcome.assert_migrated();
        assert_verbatim(&outcome);
        let report = outcome.relays[0].as_ref().unwrap();
        let (source, destination) = (
            outcome.source.as_ref().unwrap(),
            outcome.destination.as_ref().unwrap(),
        );
        assert!(report.confirmed);
        assert_eq!(report.machine, "none");
        assert_eq!(report.ram_bytes, 534 * 4096);
        assert_eq!(report.guest_bytes(), 534 * 4096);
        assert_eq!(report.received(), source.transferred());
        assert_eq!(report.sent(), destination.transferred());
        assert!(report.total_time >= report.setup_time);
    }
}

#[test]
fn through_two_relays() {
    let _watchdog = Watchdog::start();
    for method in ["zstd", "qatzip"] {
        let mut setup = Setup::new(&[("none", 2), (method, 5), ("none", 3)]);
        recorded(&mut setup);
        let outcome = setup.run();
        outcome.assert_migrated();
        assert_verbatim(&outcome);
    }
}

#[test]
fn over_networks_that_give_little_at_a_time() {
    let _watchdog = Watchdog::start();
    for seed in 0..8 {
        let mut setup = Setup::new(&[("none", 2), ("zstd", 3), ("none", 2)]);
        setup.blocks = vec![("ram", 60)];
        setup.seed = seed;
        setup.links = Box::new(move |hop, connection| {
            let seed = 100 * seed + 10 * hop as u64 + connection as u64;
            let link = || {
                Link::default()
                    .capacity(1 << (5 + 2 * (seed % 5)))
                    .sends(Pieces::Random(seed))
                    .receives(Pieces::Random(seed + 1))
            };
            (link(), link())
        });
        setup.run().assert_migrated();
    }
}

#[test]
fn each_shape_of_the_main_stream() {
    let _watchdog = Watchdog::start();
    for sync_mode in [SyncMode::PerRound, SyncMode::PerSection] {
        for zero_pages in [
            ZeroPageDetection::None,
            ZeroPageDetection::Legacy,
            ZeroPageDetection::Multifd,
        ] {
            for return_path in [true, false] {
                let mut setup = Setup::new(&[("none", 2), ("zstd", 2)]);
                recorded(&mut setup);
                setup.source.sync_mode = sync_mode;
                setup.source.zero_pages = zero_pages;
                setup.return_path = return_path;
                let outcome = setup.run();
                outcome.assert_migrated();
                assert_verbatim(&outcome);
                let report = outcome.relays[0].as_ref().unwrap();
                assert_eq!(report.confirmed, return_path);
                let incoming = report.channels.incoming.total();
                let zero = outcome.destination.as_ref().unwrap().zero_pages();
                assert!(zero > 0);
                match zero_pages {
                    ZeroPageDetection::None => {
                        assert_eq!((report.main_zero_pages, incoming.zero_pages), (0, 0));
                    }
                    ZeroPageDetection::Legacy => {
                        assert_eq!((report.main_zero_pages, incoming.zero_pages), (zero, 0));
                    }
                    ZeroPageDetection::Multifd => {
                        assert_eq!((report.main_zero_pages, incoming.zero_pages), (0, zero));
                    }
                    other => panic!("{} is no case here", other.name()),
                }
            }
        }
    }
}

#[test]
fn a_destination_that_knows_no_zero_pages() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("none", 2)]);
    setup.relay.forwarder.zero_pages = false;
    let outcome = setup.run();
    outcome.assert_migrated();
    let total = outcome.destination.as_ref().unwrap().channels.total();
    assert_eq!((total.normal_pages, total.zero_pages), (534, 0));
}

#[test]
fn device_state_of_both_kinds() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("none", 3)]);
    let section = |instance| DeviceSection {
        name: "0000:00:03.0/virtio-net".into(),
        instance,
        version: 11,
        data: (0..=255).cycle().take(200_000).collect(),
    };
    setup.source.devices = vec![section(0), section(1)];
    setup.source.device_packets = (0..12)
        .map(|chunk| DeviceState::new("vfio", chunk, vec![9; 1 + 1000 * chunk as usize]))
        .collect();
    let wanted = setup.source.device_packets.clone();
    let outcome = setup.run();
    outcome.assert_migrated();
    let devices = outcome.devices.unwrap();
    let sections = devices.sections.as_ref().unwrap();
    assert_eq!(sections.len(), 2);
    assert!(devices.data(&sections[1]) == section(1).data);
    let mut packets = outcome.device_packets;
    packets.sort_by_key(|state| state.instance_id);
    assert!(packets == wanted);
}

#[test]
fn a_bandwidth_on_each_side() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("zstd", 2)]);
    setup.relay.forwarder.recv_bandwidth = std::num::NonZeroU64::new(16 << 20);
    setup.relay.forwarder.send_bandwidth = std::num::NonZeroU64::new(16 << 20);
    let outcome = setup.run();
    outcome.assert_migrated();
}

#[test]
fn the_destinations_reason_reaches_the_source() {
    let _watchdog = Watchdog::start();
    for hops in [
        vec![("none", 2), ("zstd", 3)],
        vec![("none", 2), ("zstd", 3), ("none", 1)],
    ] {
        let mut setup = Setup::new(&hops);
        setup.verdict = Err("the device is unknown here");
        let outcome = setup.run();
        outcome.assert_failed();
        let failure = outcome.source.as_ref().unwrap_err();
        let text = failure.error.to_string();
        assert!(text.contains("could not take the guest (SHUT 1)"), "{text}");
        for relay in &outcome.relays {
            let error = relay.as_ref().unwrap_err();
            assert_eq!(error.place().side, Some(Side::RelayOut));
            assert!(error.to_string().contains("SHUT 1"), "{error}");
        }
    }
}

#[test]
fn a_guest_that_cannot_be_started_is_kept_behind_a_relay_too() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("zstd", 3)]);
    setup.starts = Err("its disk is locked");
    let outcome = setup.run();
    assert!(outcome.complete);
    let there = outcome.destination.unwrap_err();
    assert_eq!(there.guest, GuestHere::WholeButNotStarted);
    let words = [
        outcome.source.unwrap_err().error.to_string(),
        outcome.relays[0].as_ref().unwrap_err().to_string(),
    ];
    for text in words {
        assert!(text.contains("could not start it (SHUT 1)"), "{text}");
    }
}
