// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay refuses, and how it ends.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;
use multifd_core::{Error, Fault, ForwarderConfig, Side};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{self, Ending, Link, Watchdog};

use super::bench::Bench;
use super::pages::three_rounds;
use crate::guest;
use crate::relay_rig::{RelayRig, Setup, blocks};
use crate::rig::none;
use crate::strangers::strangers;
use crate::stream::{self, HEADER, NAME, NEXT_PACKET_SIZE};

#[test]
fn the_uuid_is_the_sources() {
    let _watchdog = Watchdog::start();
    let uuid = Uuid::parse("12345678-9abc-def0-1234-56789abcdef0").unwrap();
    let mut setup = Setup::new(2, 2);
    setup.sender.uuid = uuid;
    setup.receiver.uuid = Some(uuid);
    three_rounds(setup, 3);

    let mut setup = Setup::new(2, 2);
    setup.sender.uuid = uuid;
    setup.forwarder.uuid = Some(Uuid::default());
    let forwarder = setup.forwarder();
    let text = setup.start(&forwarder).err().unwrap().to_string();
    assert!(
        text.starts_with("relay, source side: the peer migrates VM 12345678"),
        "{text}"
    );
}

/// Nothing is said to the destination before it is known that the guest may pass.
#[test]
fn a_uuid_that_is_wanted_is_waited_for() {
    let _watchdog = Watchdog::start();
    let mut config = ForwarderConfig::default();
    config.uuid = Some(Uuid::default());
    let bench = Bench::new(1, 1, config);
    let _main = bench.connect(b"QEVM");
    let error = bench.forwarder.wait_uuid(Duration::from_millis(1));
    let text = error.unwrap_err().to_string();
    assert_eq!(
        text,
        "relay, source side: the source may have multifd off: a main connection, but no multifd channel within 0.001 s"
    );
    bench.send(0, &stream::init(0));
    bench.start();
}

/// The channel that is waited for waits itself.
#[test]
fn device_state_before_the_switchover_is_named() {
    let _watchdog = Watchdog::start();
    let mut config = ForwarderConfig::default();
    config.limits.sync = Duration::from_secs(1);
    let bench = Bench::new(1, 1, config);
    let early = stream::device_state("vfio", b"state");
    bench.send(0, &[stream::init(0), stream::sync()].concat());
    let mut out = bench.start();
    out.forwarding.attach(out.blocks.clone()).unwrap();
    out.forwarding.sync().unwrap();
    bench.send(0, &[early, stream::sync()].concat());
    assert_eq!(
        out.forwarding.sync().unwrap_err().to_string(),
        "relay, source side: no SYNC from channel 0 within 1 s; 1 channels have device state, which waits \
         for the command SWITCHOVER_START"
    );
}

#[test]
fn strangers_do_not_matter() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    for (count, (bytes, why)) in (1..).zip(strangers()) {
        let _stranger = bench.connect(&bytes);
        while bench.forwarder.strangers().count < count {
            thread::yield_now();
        }
        assert_eq!(bench.forwarder.strangers().last.as_deref(), Some(why));
    }
    bench.send(0, &stream::init(0));
    let _main = bench.connect(b"QEVM");
    bench.start();
    bench.forwarder.wait_main(Duration::from_secs(30)).unwrap();
    assert!(bench.forwarder.is_complete());
}

#[test]
fn channels_of_two_guests_do_not_mix() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(2, 1, ForwarderConfig::default());
    bench.send(0, &stream::init(0));
    let mut other = stream::init(1);
    other[8] = 1;
    bench.forwarder.wait_uuid(Duration::from_secs(30)).unwrap();
    let mut out = bench.start();
    bench.send(1, &other);
    let error = out.forwarding.sync().unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
    assert!(
        error.to_string().contains("the peer migrates VM 01000000"),
        "{error}"
    );
}

#[test]
fn hostile_pages_are_refused_as_by_a_destination() {
    let _watchdog = Watchdog::start();
    let unaligned = stream::packet(&[0x1001], &[]);
    let outside = stream::packet(&[0x10000], &[]);
    let outside_zero = stream::packet(&[], &[u64::MAX - 0xfff]);
    let twice = stream::packet(&[0x1000, 0x2000, 0x1000], &[]);
    let mut unknown = stream::packet(&[0x1000], &[]);
    unknown[NAME] = b'x';
    let mut method = stream::packet(&[0x1000], &[]);
    stream::put(&mut method, stream::FLAGS, 4);
    let mut short = stream::packet(&[0x1000], &[]);
    stream::put(&mut short, NEXT_PACKET_SIZE, 4095);
    for (packet, words) in [
        (unaligned, "page offset 0x1001 is not a multiple"),
        (
            outside,
            "page offset 0x10000 is outside the block of 0x10000 bytes",
        ),
        (outside_zero, "is outside the block"),
        (twice, "page offset 0x1000 is listed twice"),
        (unknown, "unknown RAM block \"xam\""),
        (method, "packet compressed with zstd, wanted none"),
        (short, "payload of 4095 bytes for 1 pages"),
    ] {
        let bench = Bench::new(1, 1, ForwarderConfig::default());
        let mut out = bench.begin();
        bench.send(0, &packet);
        let error = out.forwarding.sync().unwrap_err();
        assert_eq!(error.fault(), Fault::Peer);
        let text = error.to_string();
        assert!(
            text.starts_with("relay, source side, channel 0, packet 1"),
            "{text}"
        );
        assert!(text.contains(words), "{text}");
        // Nothing of it went on.
        assert!(out.taps[0].sent() <= (64 + HEADER) as u64);
    }
}

#[test]
fn pages_before_the_first_barrier_are_refused() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    bench.send(0, &stream::init(0));
    let mut out = bench.start();
    bench.send(0, &stream::packet(&[0x1000], &[]));
    let error = out.forwarding.sync().unwrap_err();
    assert!(
        error.to_string().contains("pages before the first SYNC"),
        "{error}"
    );
}

#[test]
fn pages_behind_the_last_barrier_are_refused() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    let mut out = bench.begin();
    out.forwarding.end_memory().unwrap();
    let sent = out.taps[0].sent();
    bench.send(0, &stream::packet(&[0x1000], &[]));
    let error = out.forwarding.sync().unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(
        error.to_string(),
        "relay, source side, channel 0, packet 1, block \"ram\": pages behind the last SYNC, wanted none: the main \
         channel has ended memory"
    );
    assert_eq!(out.taps[0].sent(), sent);
}

/// A connection on either side is cut at any place: all end, and the error says on which side.
#[test]
fn a_cut_anywhere_ends_both_sides() {
    let _watchdog = Watchdog::start();
    for seed in 0..80 {
        let mut random = PageSource::new(seed);
        let (incoming, victim) = (random.below(2) == 0, random.below(3) as u8);
        let cut = random.below(400_000) as u64;
        let ending = [Ending::Eof, Ending::Reset][random.below(2)];
        let link = move |channel| match channel == victim {
            true => Link::default().cut_after(cut, ending),
            false => Link::default(),
        };
        let mut setup = Setup::new(3, 3);
        if incoming {
            setup.in_link = Box::new(link);
        } else {
            setup.out_link = Box::new(link);
        }
        let forwarder = setup.forwarder();
        let side = if incoming {
            Side::RelayIn
        } else {
            Side::RelayOut
        };
        match setup.start(&forwarder) {
            Err(error) => assert_eq!(error.fault(), Fault::Connection, "seed {seed}: {error}"),
            Ok(rig) => {
                let errors = until_it_fails(rig, &mut random);
                let error = forwarder.abort_handle().error().unwrap();
                assert_eq!(error.fault(), Fault::Connection, "seed {seed}: {error}");
                assert_eq!(error.place().side, Some(side), "seed {seed}: {error}");
                for error in errors {
                    assert_eq!(error.fault(), Fault::Connection, "seed {seed}: {error}");
                }
            }
        }
    }
}

/// Migrates, each party on its own thread, until all fail; answers the errors of the ends.
fn until_it_fails(rig: RelayRig<'_>, random: &mut PageSource) -> [Error; 2] {
    let RelayRig {
        ends,
        mut forwarding,
    } = rig;
    let (mut sender, receiver) = (ends.sender, ends.receiver);
    let pages = guest::pages(&ends.source);
    guest::fill(&ends.source, &pages, random);
    thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            receiver.attach(ends.target.clone())?;
            loop {
                receiver.sync()?;
            }
        });
        let sending = scope.spawn(|| {
            sender.sync()?;
            loop {
                for (block, offset) in &pages {
                    sender.queue(*block, *offset)?;
                }
                sender.sync()?;
            }
        });
        // A connection that was cut may have failed it already.
        let _ = forwarding.attach(blocks(&ends.source));
        while forwarding.sync().is_ok() {}
        forwarding.finish().unwrap_err();
        let error = |result: Result<(), Error>| result.unwrap_err();
        [
            error(receiving.join().unwrap()),
            error(sending.join().unwrap()),
        ]
    })
}

#[test]
fn an_abort_frees_everybody() {
    let _watchdog = Watchdog::start();
    for seed in 0..20 {
        let setup = Setup::new(3, 2);
        let forwarder = setup.forwarder();
        let rig = setup.start(&forwarder).unwrap();
        let abort = forwarder.abort_handle();
        let tap = rig.ends.out_taps[0].clone();
        let aborting = thread::spawn(move || {
            tap.wait_received(64 + seed * 40_000);
            abort.abort();
        });
        until_it_fails(rig, &mut PageSource::new(seed));
        aborting.join().unwrap();
        assert_eq!(
            forwarder.abort_handle().error().unwrap().fault(),
            Fault::Aborted
        );
    }
}

#[test]
fn dropping_it_in_any_state_ends_its_threads() {
    let _watchdog = Watchdog::start();
    drop(Setup::new(2, 2).forwarder());
    for syncs in 0..3 {
        let setup = Setup::new(2, 2);
        let forwarder = setup.forwarder();
        let mut rig = setup.start(&forwarder).unwrap();
        for sync in 0..syncs {
            match sync {
                0 => rig.begin().unwrap(),
                _ => {
                    rig.queue_all().unwrap();
                    rig.sync().unwrap();
                }
            }
        }
        drop(rig);
        drop(forwarder);
    }
}

#[test]
fn an_error_of_the_set_up_is_the_destinations() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    let error = bench
        .forwarder
        .start(Uuid::default(), &none(), Vec::new())
        .unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert!(
        error.to_string().contains("0 multifd connections"),
        "{error}"
    );

    let bench = Bench::new(1, 1, ForwarderConfig::default());
    let link = Link::default().send_error(3, ErrorKind::PermissionDenied);
    let (here, _there, _) = network::pair(link, Link::default());
    let connections: Vec<Box<dyn Transport>> = vec![Box::new(here)];
    let error = bench
        .forwarder
        .start(Uuid::default(), &none(), connections)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("relay, destination side, channel 0"),
        "{error}"
    );
}

/// As in a destination.
#[test]
fn more_pages_than_the_guest_has() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    let mut out = bench.begin();
    let all: Vec<u64> = (0..16).map(|page| page * 0x1000).collect();
    let once = stream::packet(&[], &all);
    bench.send(0, &[&once[..], &stream::sync(), &once].concat());
    out.forwarding.sync().unwrap();
    bench.send(0, &[&once[..], &stream::packet(&[0x2000], &[])].concat());
    let error = out.forwarding.sync().unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(
        error.to_string(),
        "relay, source side, channel 0, packet 5, block \"ram\": more pages between two SYNC than 2 times \
         the 16 of the guest"
    );
}
