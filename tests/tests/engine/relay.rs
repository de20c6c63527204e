//! What goes into a relay comes out of it.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multifd_core::transport::{Transport, send_all};
use multifd_core::wire::Uuid;
use multifd_core::{
    ChannelCount, DeviceState, Error, Fault, Forwarder, ForwarderConfig, MethodFactory,
    MethodOptions, MultifdMethods, PageSize, Side,
};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::{self, Ending, Endpoint, Link, Pieces, Watchdog};
use parking_lot::Mutex;

use crate::guest;
use crate::relay_rig::{RelayRig, Setup, blocks};
use crate::rig::none;
use crate::stream::{
    self, HEADER, NAME, NEXT_PACKET_SIZE, NORMAL_PAGES, OFFSETS, PAGE, ZERO_PAGES,
};

const BLOCKS: [(&str, usize); 3] = [("pc.ram", 300), ("/rom@etc/acpi/tables", 33), ("one", 1)];

fn method(factory: impl MethodFactory) -> Arc<dyn MultifdMethods> {
    factory.open(&MethodOptions::new()).unwrap()
}

#[test]
fn any_number_of_channels_on_each_side() {
    let _watchdog = Watchdog::start();
    for channels in [(1, 1), (1, 5), (5, 1), (3, 16), (255, 2), (2, 255)] {
        let mut setup = Setup::new(channels.0, channels.1);
        setup.blocks = BLOCKS.to_vec();
        three_rounds(setup, 7);
    }
}

#[test]
fn any_method_on_each_side() {
    let _watchdog = Watchdog::start();
    let methods = || {
        [
            none(),
            method(multifd_zlib::ZlibFactory),
            method(multifd_zstd::ZstdFactory),
        ]
    };
    for from in methods() {
        for to in methods() {
            let mut setup = Setup::new(2, 3);
            setup.blocks = BLOCKS.to_vec();
            setup.methods = (Arc::clone(&from), to);
            three_rounds(setup, 11);
        }
    }
}

#[test]
fn any_page_size() {
    let _watchdog = Watchdog::start();
    for bytes in [8192, 65536] {
        let mut setup = Setup::new(2, 2);
        setup.page_size = PageSize::new(bytes).unwrap();
        setup.blocks = vec![("ram", 40), ("rom", 3)];
        three_rounds(setup, 5);
    }
}

#[test]
fn networks_that_give_little_at_a_time() {
    let _watchdog = Watchdog::start();
    for seed in 0..10 {
        let link = move |channel: u8, salt: u64| {
            let random = |end| Pieces::Random(8 * seed + 4 * u64::from(channel) + end + salt);
            Link::default()
                .capacity(1 << (6 + 2 * (seed % 5)))
                .sends(random(0))
                .receives(random(1))
        };
        let mut setup = Setup::new(2, 3);
        setup.blocks = vec![("ram", 140), ("rom", 2)];
        setup.in_link = Box::new(move |channel| link(channel, 0));
        setup.out_link = Box::new(move |channel| link(channel, 2));
        three_rounds(setup, seed);
    }
}

/// Everything once, then twice a part of it with new content; then checks memory and counters.
fn three_rounds(setup: Setup, seed: u64) {
    let forwarder = setup.forwarder();
    let mut rig = setup.start(&forwarder).unwrap();
    let mut random = PageSource::new(seed);
    let all = guest::pages(&rig.ends.source);
    guest::fill(&rig.ends.source, &all, &mut random);
    guest::fill_all(&rig.ends.target, 0xee);
    rig.begin().unwrap();
    rig.queue_all().unwrap();
    rig.sync().unwrap();
    guest::assert_same(&rig.ends.target, &rig.ends.source);

    let mut queued = all.len();
    for _ in 0..2 {
        let dirty: Vec<_> = all
            .iter()
            .copied()
            .filter(|_| random.below(3) == 0)
            .collect();
        guest::fill(&rig.ends.source, &dirty, &mut random);
        for (block, offset) in &dirty {
            rig.ends.sender.queue(*block, *offset).unwrap();
        }
        queued += dirty.len();
        rig.sync().unwrap();
        guest::assert_same(&rig.ends.target, &rig.ends.source);
    }
    rig.ends.sender.wait_sent().unwrap();
    let (sent, passed_on, received) = rig.finish().unwrap();
    assert_eq!(
        sent.total().wire_bytes,
        passed_on.incoming.total().wire_bytes
    );
    assert_eq!(
        passed_on.outgoing.total().wire_bytes,
        received.total().wire_bytes
    );
    for total in [sent.total(), received.total()] {
        assert_eq!(total.normal_pages + total.zero_pages, queued as u64);
    }
    // A SYNC packet per channel and sync point, on both sides.
    for channel in received.channels.iter().chain(&sent.channels) {
        assert!(channel.packets >= 4, "{channel:?}");
    }
    assert_eq!(passed_on.syncs.count, 4);
    assert!(passed_on.packets.count > 0);
}

/// A source that looks for no zero pages, and destinations that know them and that do not.
#[test]
fn zero_pages_are_found_on_the_way_or_sent_with_their_content() {
    let _watchdog = Watchdog::start();
    for (source_finds, destination_knows) in
        [(false, true), (true, true), (true, false), (false, false)]
    {
        let mut setup = Setup::new(2, 2);
        setup.blocks = BLOCKS.to_vec();
        setup.sender.zero_pages = source_finds;
        setup.forwarder.zero_pages = destination_knows;
        let forwarder = setup.forwarder();
        let mut rig = setup.start(&forwarder).unwrap();
        let all = guest::pages(&rig.ends.source);
        let content: Vec<_> = all.iter().copied().skip(1).step_by(3).collect();
        for page in &content {
            guest::write(&rig.ends.source, *page, b"content");
        }
        guest::fill_all(&rig.ends.target, 0xee);
        rig.begin().unwrap();
        rig.queue_all().unwrap();
        rig.sync().unwrap();
        guest::assert_same(&rig.ends.target, &rig.ends.source);
        let (sent, passed_on, received) = rig.finish().unwrap();
        let (zero, all) = ((all.len() - content.len()) as u64, all.len() as u64);
        let zero_if = |yes| if yes { zero } else { 0 };
        assert_eq!(sent.total().zero_pages, zero_if(source_finds));
        for total in [passed_on.outgoing.total(), received.total()] {
            assert_eq!(total.zero_pages, zero_if(destination_knows));
            assert_eq!(total.normal_pages + total.zero_pages, all);
        }
    }
}

#[test]
fn packets_keep_block_offsets_and_content() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 1, ForwarderConfig::default());
    bench.send(0, &stream::init(0));
    let mut out = bench.start();
    bench.send(0, &stream::sync());
    out.forwarding.attach(out.blocks.clone()).unwrap();
    out.forwarding.sync().unwrap();
    bench.send(0, &stream::packet(&[0x7000, 0x3000], &[0xf000, 0x1000]));
    bench.send(0, &stream::sync());
    out.forwarding.sync().unwrap();
    let bytes = out.read(0, 64 + 3 * HEADER + 2 * PAGE);
    drop(out);
    let (init, packets) = stream::split(&bytes);
    assert_eq!(init, stream::init(0));
    let [first, packet, last] = packets[..] else {
        panic!("{} packets", packets.len());
    };
    for sync in [first, last] {
        assert_eq!(stream::number(sync, stream::FLAGS), 1);
    }
    assert_eq!(&packet[NAME..NAME + 4], b"ram\0");
    let number = |at| stream::number(packet, at);
    assert_eq!((number(NORMAL_PAGES), number(ZERO_PAGES)), (2, 2));
    assert_eq!(number(NEXT_PACKET_SIZE) as usize, 2 * PAGE);
    let offsets = [0x7000, 0x3000, 0xf000, 0x1000];
    for (at, want) in offsets.into_iter().enumerate() {
        assert_eq!(stream::number_u64(packet, OFFSETS + 8 * at), want);
    }
    for (at, offset) in [0x7000, 0x3000].into_iter().enumerate() {
        let content = &packet[HEADER + at * PAGE..][..PAGE];
        assert_eq!(content, [stream::page_byte(offset); PAGE]);
    }
}

/// What old sources do: SYNC on a packet with pages, empty packets, stale bytes.
#[test]
fn an_old_source_becomes_a_new_one() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1, 2, ForwarderConfig::default());
    bench.send(0, &stream::init(0));
    let mut out = bench.start();
    bench.send(0, &stream::sync());
    out.forwarding.attach(out.blocks.clone()).unwrap();
    out.forwarding.sync().unwrap();
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
    config.sync_time_limit = Duration::from_millis(500);
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

#[test]
fn the_uuid_is_the_sources() {
    let _watchdog = Watchdog::start();
    let uuid = Uuid::parse("12345678-9abc-def0-1234-56789abcdef0").unwrap();
    let mut setup = Setup::new(2, 2);
    setup.sender.uuid = uuid;
    setup.receiver.uuid = uuid;
    three_rounds(setup, 3);

    let mut setup = Setup::new(2, 2);
    setup.sender.uuid = uuid;
    setup.forwarder.uuid = Some(Uuid::default());
    let forwarder = setup.forwarder();
    let text = setup.start(&forwarder).err().unwrap().to_string();
    assert!(
        text.starts_with("relay, source side: the peer migrates the VM 12345678"),
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
    let error = bench.forwarder.wait_uuid(Duration::from_millis(1));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("no multifd channel within"), "{text}");
    bench.send(0, &stream::init(0));
    bench.start();
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
        error
            .to_string()
            .contains("the peer migrates the VM 01000000"),
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
            "page offset 0x10000 is outside of the block of 0x10000 bytes",
        ),
        (outside_zero, "is outside of the block"),
        (twice, "page offset 0x1000 is listed twice"),
        (unknown, "unknown RAM block \"xam\""),
        (method, "packet compressed with zstd, wanted none"),
        (short, "payload of 4095 bytes for 1 pages"),
    ] {
        let bench = Bench::new(1, 1, ForwarderConfig::default());
        bench.send(0, &stream::init(0));
        let mut out = bench.start();
        bench.send(0, &stream::sync());
        out.forwarding.attach(out.blocks.clone()).unwrap();
        out.forwarding.sync().unwrap();
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

#[test]
fn both_bandwidths_are_kept() {
    let _watchdog = Watchdog::start();
    for incoming in [true, false] {
        let mut setup = Setup::new(2, 2);
        setup.blocks = vec![("ram", 8 * 128)];
        let limit = NonZeroU64::new(32 << 20);
        if incoming {
            setup.forwarder.recv_bandwidth = limit;
        } else {
            setup.forwarder.send_bandwidth = limit;
        }
        let forwarder = setup.forwarder();
        let mut rig = setup.start(&forwarder).unwrap();
        guest::fill_all(&rig.ends.source, 1);
        rig.begin().unwrap();
        let start = std::time::Instant::now();
        rig.queue_all().unwrap();
        rig.sync().unwrap();
        // 4 MiB at 32 MiB/s are 125 ms, of which 50 ms are credit and a packet on each of two
        // channels is 31 ms. It may take longer, but not shorter.
        assert!(start.elapsed() >= Duration::from_millis(40));
    }
}

/// A forwarder, and a source made by hand.
struct Bench {
    forwarder: Forwarder,
    sources: Mutex<Vec<Endpoint>>,
    to: u8,
}

/// The forwarder's other side.
struct Out<'f> {
    forwarding: multifd_core::engine::Forwarding<'f>,
    destinations: Vec<Endpoint>,
    taps: Vec<network::Tap>,
    /// One block `ram` of 16 pages.
    blocks: Vec<(multifd_core::wire::BlockName, u64)>,
}

impl Bench {
    fn new(from: u8, to: u8, mut config: ForwarderConfig) -> Self {
        config.channels = ChannelCount::new(from).unwrap();
        let forwarder = Forwarder::new(config, none());
        let sources = (0..from).map(|_| {
            let link = Link::default().capacity(1 << 20);
            let (source, relay, _) = network::pair(link, Link::default());
            forwarder.accept(Box::new(relay)).unwrap();
            source
        });
        let sources = Mutex::new(sources.collect());
        Self {
            forwarder,
            sources,
            to,
        }
    }

    fn send(&self, channel: usize, bytes: &[u8]) {
        send_all(&mut self.sources.lock()[channel], &mut [bytes.into()]).unwrap();
    }

    fn start(&self) -> Out<'_> {
        let mut connections: Vec<Box<dyn Transport>> = Vec::new();
        let (mut destinations, mut taps) = (Vec::new(), Vec::new());
        for _ in 0..self.to {
            let link = Link::default().capacity(1 << 20);
            let (relay, destination, tap) = network::pair(link, Link::default());
            connections.push(Box::new(relay));
            destinations.push(destination);
            taps.push(tap.forth);
        }
        let uuid = self.forwarder.wait_uuid(Duration::from_secs(30)).unwrap();
        let forwarding = self.forwarder.start(uuid, &none(), connections).unwrap();
        let memory = guest::memory(PageSize::X86, &[("ram", 16)]);
        Out {
            forwarding,
            destinations,
            taps,
            blocks: blocks(&memory),
        }
    }
}

impl Out<'_> {
    fn read(&mut self, channel: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let room = &mut [bytes.as_mut_slice().into()];
        assert!(multifd_core::transport::recv_all(&mut self.destinations[channel], room).unwrap());
        bytes
    }
}
