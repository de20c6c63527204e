// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay keeps the order of what goes through it, and holds a source back that is too fast.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multifd_core::{DeviceState, ForwarderConfig, Side};
use multifd_tests::network::{self, Link, Pieces, Watchdog};
use parking_lot::Mutex;

use super::bench::Bench;
use crate::guest;
use crate::relay_rig::{RelayRig, Setup};
use crate::stream::{self, HEADER, NEXT_PACKET_SIZE, NORMAL_PAGES, PAGE};

/// What old sources do: SYNC on a packet with pages, empty packets, stale bytes.
#[test]
fn an_old_source_becomes_a_new_one() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 2, ForwarderConfig::default());
    let mut out = bench.begin();
    let mut merged = stream::packet(&[0x2000], &[]);
    stream::put(&mut merged, stream::FLAGS, 1);
    let mut empty = stream::sync();
    stream::put(&mut empty, stream::FLAGS, 0);
    stream::put(&mut empty, NEXT_PACKET_SIZE, 77);
    bench.send(0, &merged);
    out.forwarding.sync().unwrap();
    bench.send(0, &empty);
    bench.send(0, &stream::sync());
    out.forwarding.sync().unwrap();
    // One of the two channels carries the page, before its second SYNC.
    let (mut with, mut without) = (0, 0);
    for channel in 0..2 {
        let three_syncs = 64 + 3 * HEADER;
        let mut bytes = out.read(channel, three_syncs);
        if stream::number(&bytes[64 + HEADER..], NORMAL_PAGES) == 1 {
            bytes.extend(out.read(channel, HEADER + PAGE));
            with += 1;
        } else {
            without += 1;
        }
        let (_, packets) = stream::split(&bytes);
        let syncs: Vec<_> = packets
            .iter()
            .map(|packet| stream::number(packet, stream::FLAGS))
            .collect();
        match packets.len() {
            3 => assert_eq!(syncs, [1, 1, 1]),
            _ => assert_eq!(syncs, [1, 0, 1, 1]),
        }
    }
    assert_eq!((with, without), (1, 1));
}

/// Every page that a channel sends between two barriers is of that round: the content says which.
#[test]
fn barriers_are_kept_exactly() {
    let _watchdog = Watchdog::start();
    for seed in 0..6 {
        let mut setup = Setup::new(3, 4);
        setup.blocks = vec![("ram", 700)];
        setup.out_link = Box::new(move |channel| {
            Link::default()
                .recorded()
                .receives(Pieces::Random(seed + u64::from(channel)))
        });
        let forwarder = setup.forwarder();
        let mut rig = setup.start(&forwarder).unwrap();
        let pages = guest::pages(&rig.ends.source);
        rig.begin().unwrap();
        for round in 1..8_u8 {
            guest::fill_all(&rig.ends.source, round);
            for (block, offset) in pages.iter().skip(usize::from(round) * 31) {
                rig.ends.sender.queue(*block, *offset).unwrap();
            }
            rig.sync().unwrap();
        }
        rig.ends.sender.wait_sent().unwrap();
        let taps = rig.ends.out_taps.clone();
        rig.finish().unwrap();
        for tap in taps {
            let bytes = tap.bytes();
            let mut round = 0;
            for packet in stream::split(&bytes).1 {
                if stream::number(packet, stream::FLAGS) == 1 {
                    round += 1;
                    continue;
                }
                let content = &packet[HEADER..];
                assert!(content.iter().all(|byte| *byte == round), "seed {seed}");
            }
            assert_eq!(round, 8, "seed {seed}");
        }
    }
}

/// Who has read the mark waits for the barrier, whatever has become of the relay meanwhile.
#[test]
fn a_barrier_is_sent_when_its_mark_may_follow() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 4, ForwarderConfig::default());
    bench.send(0, &stream::init(0));
    let mut out = bench.start();
    out.forwarding.attach(out.blocks.clone()).unwrap();
    for round in 1..=20 {
        bench.send(0, &stream::sync());
        out.forwarding.sync().unwrap();
        for tap in &out.taps {
            assert_eq!(tap.sent(), 64 + round * HEADER as u64);
        }
    }
}

#[test]
fn device_state_waits_for_the_switchover() {
    let _watchdog = Watchdog::start();
    let states = Arc::new(Mutex::new(Vec::new()));
    let mut setup = Setup::new(2, 2);
    let sink = Arc::clone(&states);
    setup.receiver.device_state = Some(Arc::new(move |state: DeviceState| {
        sink.lock().push(state);
        Ok(())
    }));
    let forwarder = setup.forwarder();
    let mut rig = setup.start(&forwarder).unwrap();
    rig.begin().unwrap();
    rig.queue_all().unwrap();
    rig.sync().unwrap();
    let wanted: Vec<_> = (0..9)
        .map(|chunk| {
            DeviceState::new(
                "0000:00:02.0/vfio",
                chunk,
                vec![7; 1 + 100 * chunk as usize],
            )
        })
        .collect();
    for state in &wanted {
        rig.ends.sender.device_state(state.clone()).unwrap();
    }
    rig.ends.sender.wait_sent().unwrap();
    let before = rig
        .ends
        .out_taps
        .iter()
        .map(network::Tap::sent)
        .sum::<u64>();
    rig.forwarding.open_switchover();
    rig.sync().unwrap();
    rig.ends.sender.finish().unwrap();
    rig.forwarding.drain(Duration::from_secs(30)).unwrap();
    let after = rig
        .ends
        .out_taps
        .iter()
        .map(network::Tap::sent)
        .sum::<u64>();
    let bytes: usize = wanted.iter().map(|state| 276 + state.data.len()).sum();
    assert_eq!(after - before, (bytes + 2 * HEADER) as u64);
    rig.forwarding.finish().unwrap();
    rig.ends.receiver.sync().unwrap_err();
    let mut got = states.lock().clone();
    got.sort_by_key(|state| state.instance_id);
    assert_eq!(got, wanted);
}

#[test]
fn a_slow_destination_holds_back_the_source() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(1, 1);
    setup.blocks = vec![("ram", 128 * 40)];
    setup.out_link = Box::new(|_| Link::default().hold_after(64 + HEADER as u64));
    let forwarder = setup.forwarder();
    let mut rig = setup.start(&forwarder).unwrap();
    guest::fill_all(&rig.ends.source, 1);
    rig.begin().unwrap();
    let (source, in_tap, out_tap) = (
        rig.ends.source.clone(),
        rig.ends.in_taps[0].clone(),
        rig.ends.out_taps[0].clone(),
    );
    let backlog = rig.forwarding.backlog();
    let RelayRig {
        mut ends,
        mut forwarding,
    } = rig;
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            for (block, offset) in guest::pages(&source) {
                ends.sender.queue(block, offset)?;
            }
            ends.sender.sync()
        });
        out_tap.wait_sender_blocked();
        in_tap.wait_sender_blocked();
        // Three packets, and the header of one more.
        let taken = in_tap.received() - 64 - HEADER as u64;
        let most = 3 * (HEADER + 128 * PAGE) + HEADER;
        assert!(taken <= most as u64, "{taken}");
        assert!(backlog.packets() <= 3);
        out_tap.release();
        sending.join().unwrap().unwrap();
    });
    forwarding.sync().unwrap();
    ends.receiver.sync().unwrap();
    assert_eq!(backlog.packets(), 0);
    guest::assert_same(&ends.target, &ends.source);
}

/// The source is not blamed for what the destination does not take.
#[test]
fn only_a_source_that_has_room_runs_out_of_time() {
    let _watchdog = Watchdog::start();
    let mut config = ForwarderConfig::default();
    config.limits.sync = Duration::from_millis(500);
    let bench = Bench::new(2, 1, config.clone());
    for channel in 0..2 {
        bench.send(channel, &stream::init(u8::try_from(channel).unwrap()));
    }
    let mut out = bench.start();
    bench.send(1, &stream::sync());
    let error = out.forwarding.sync().unwrap_err();
    assert_eq!(error.place().side, Some(Side::RelayIn));
    assert_eq!(
        error.to_string(),
        "relay, source side: no SYNC from channel 0 within 0.5 s"
    );
    drop(out);

    let mut setup = Setup::new(1, 1);
    setup.forwarder = config;
    setup.blocks = vec![("ram", 128 * 6)];
    setup.out_link = Box::new(|_| Link::default().hold_after(64 + HEADER as u64));
    let forwarder = setup.forwarder();
    let mut rig = setup.start(&forwarder).unwrap();
    guest::fill_all(&rig.ends.source, 1);
    rig.begin().unwrap();
    let out_tap = rig.ends.out_taps[0].clone();
    let RelayRig {
        mut ends,
        mut forwarding,
    } = rig;
    thread::scope(|scope| {
        let source = ends.source.clone();
        let sending = scope.spawn(move || {
            for (block, offset) in guest::pages(&source) {
                ends.sender.queue(block, offset).unwrap();
            }
            ends.sender.sync().unwrap();
            ends
        });
        scope.spawn(move || {
            // Longer than the limit, however long it takes.
            thread::sleep(Duration::from_millis(1200));
            out_tap.release();
        });
        forwarding.sync().unwrap();
        drop(sending.join().unwrap());
    });
}
