// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sources that send what nobody may send.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use multifd_core::transport::{Transport, send_all};
use multifd_core::wire::{InitPacket, Uuid};
use multifd_core::{Error, Fault, ReceiverConfig};
use multifd_tests::network::Watchdog;

use crate::bench::Bench;
use crate::guest;
use crate::stream::{self, NAME, OFFSETS, PAGE, put, put_u64};

/// Gives a packet to a running channel; answers the error and the receiver afterwards.
fn refused(packet: &[u8]) -> Error {
    refused_by(&Bench::new(1), packet)
}

fn refused_by(bench: &Bench, packet: &[u8]) -> Error {
    let mut source = bench
        .connect(&[stream::init(0), stream::sync()].concat())
        .unwrap();
    bench.attach();
    bench.receiver.sync().unwrap();
    // It may be refused, and the connection closed, before the last byte is sent.
    let _ = send_all(&mut source, &mut [packet.into()]);
    let error = bench.receiver.sync().unwrap_err();
    ended(bench, &error);
    // The source finds its connection closed.
    let gone = source.send(&[b"x".as_slice().into()]).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::BrokenPipe);
    error
}

/// All that comes after the first error answers it, and the threads end.
fn ended(bench: &Bench, error: &Error) {
    let text = error.to_string();
    assert_eq!(bench.receiver.sync().unwrap_err().to_string(), text);
    assert_eq!(bench.receiver.finish().unwrap_err().to_string(), text);
    let late = bench.connect(&stream::init(0)).unwrap_err();
    assert_eq!(late.to_string(), text);
}

#[track_caller]
fn assert_peer(error: &Error, text: &str) {
    assert_eq!(error.to_string(), format!("destination, channel 0, {text}"));
    assert_eq!(error.fault(), Fault::Peer);
}

/// Nothing of a refused packet is in guest memory: checked before it is written.
#[track_caller]
fn assert_untouched(packet: &[u8], text: &str) {
    let bench = Bench::new(1);
    assert_peer(&refused_by(&bench, packet), text);
    for page in 0..16 {
        assert_eq!(bench.page(page), [0xee; PAGE], "page {page}");
    }
}

#[test]
fn other_bytes_than_a_packet() {
    let _watchdog = Watchdog::start();
    let mut packet = stream::sync();
    put(&mut packet, 0, 0x1122_3345);
    assert_peer(
        &refused(&packet),
        "packet 1: not a multifd packet: magic 0x11223345, wanted 0x11223344 \
         (the stream is damaged, or the peer is not a multifd source)",
    );
    let mut packet = stream::sync();
    put(&mut packet, 4, 2);
    assert_peer(&refused(&packet), "packet 1: multifd version 2, wanted 1");
}

#[test]
fn more_pages_than_a_packet_has() {
    let _watchdog = Watchdog::start();
    for (field, name, value, limit) in [
        (stream::PAGES_ALLOC, "pages_alloc", 129, 128),
        (stream::PAGES_ALLOC, "pages_alloc", u32::MAX, 128),
        (stream::NORMAL_PAGES, "normal_pages", 129, 128),
        (stream::NORMAL_PAGES, "normal_pages", u32::MAX, 128),
        (stream::ZERO_PAGES, "zero_pages", 127, 126),
        (stream::ZERO_PAGES, "zero_pages", u32::MAX, 126),
    ] {
        let mut packet = stream::packet(&[0, 0x1000], &[]);
        put(&mut packet, field, value);
        let text = format!("packet 1: {name} is {value}, wanted at most {limit}");
        assert_untouched(&packet, &text);
    }
}

#[test]
fn blocks_and_pages_that_do_not_exist() {
    let _watchdog = Watchdog::start();
    let mut packet = stream::packet(&[0], &[]);
    packet[NAME] = b'R';
    assert_untouched(&packet, "packet 1: unknown RAM block \"Ram\"");
    packet[NAME..OFFSETS].fill(0xff);
    let name = "\u{fffd}".repeat(255);
    assert_untouched(&packet, &format!("packet 1: unknown RAM block {name:?}"));
    packet[NAME..OFFSETS].fill(0);
    assert_untouched(&packet, "packet 1: unknown RAM block \"\"");

    for offset in [0x10000, !0xfff, 1 << 63] {
        let text = format!(
            "packet 1, block \"ram\", offset {offset:#x}: \
             page offset {offset:#x} is outside the block of 0x10000 bytes"
        );
        assert_untouched(&stream::packet(&[0, 0], &[offset]), &text);
        let mut packet = stream::packet(&[0x1000, 0x2000], &[]);
        put_u64(&mut packet, OFFSETS + 8, offset);
        assert_untouched(&packet, &text);
    }
    for offset in [1, 0x1008, 0xffff] {
        let text = format!(
            "packet 1, block \"ram\", offset {offset:#x}: \
             page offset {offset:#x} is not a multiple of the page size 4096"
        );
        assert_untouched(&stream::packet(&[0], &[offset]), &text);
    }
}

#[test]
fn pages_that_come_twice() {
    let _watchdog = Watchdog::start();
    for (normal, zero) in [
        (&[0x1000, 0x1000][..], &[][..]),
        (&[0x1000, 0x2000, 0x3000, 0x1000], &[]),
        (&[0x1000], &[0x1000]),
        (&[0x3000], &[0x1000, 0x2000, 0x1000]),
    ] {
        assert_untouched(
            &stream::packet(normal, zero),
            "packet 1, block \"ram\": page offset 0x1000 is listed twice in one packet",
        );
    }
}

#[test]
fn another_method() {
    let _watchdog = Watchdog::start();
    for (normal, zero) in [(&[0][..], &[][..]), (&[], &[0])] {
        let mut packet = stream::packet(normal, zero);
        put(&mut packet, stream::FLAGS, 4);
        assert_untouched(
            &packet,
            "packet 1, block \"ram\": packet compressed with zstd, wanted none: \
             set multifd-compression to the same method on both sides",
        );
    }
}

#[test]
fn payloads_of_a_wrong_size() {
    let _watchdog = Watchdog::start();
    for size in [0, 1, 8191, 8193, u32::MAX] {
        let mut packet = stream::packet(&[0, 0x1000], &[]);
        put(&mut packet, stream::NEXT_PACKET_SIZE, size);
        let text = format!(
            "packet 1, block \"ram\": payload of {size} bytes for 2 pages, wanted 8192 to 8192"
        );
        assert_untouched(&packet, &text);
    }
}

#[test]
fn pages_before_there_is_memory() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1);
    let packets = [stream::init(0), stream::packet(&[0], &[])].concat();
    let _source = bench.connect(&packets).unwrap();
    let error = bench.receiver.sync().unwrap_err();
    assert_peer(
        &error,
        "packet 0: pages before the first SYNC: guest memory is not announced yet",
    );
    ended(&bench, &error);
}

#[test]
fn device_state_that_nobody_may_send() {
    let _watchdog = Watchdog::start();
    let good = stream::device_state("vfio", b"state");
    let mut sync = good.clone();
    put(&mut sync, stream::FLAGS, 0x41);
    let mut unterminated = good.clone();
    unterminated[12..268].fill(b'x');
    let (mut empty, mut large) = (good.clone(), good.clone());
    put(&mut empty, 272, 0);
    put(&mut large, 272, (64 << 20) + 1);
    for (packet, text) in [
        (
            sync,
            "SYNC and DEVICE_STATE in one packet (flags 0x41 (none, SYNC, DEVICE_STATE))",
        ),
        (unterminated, "name field without a terminating NUL"),
        (empty, "device state of 0 bytes, wanted 1 to 67108864"),
        (
            large,
            "device state of 67108865 bytes, wanted 1 to 67108864",
        ),
    ] {
        let bench = Bench::with(1, taking(Ok(())));
        assert_peer(&refused_by(&bench, &packet), &format!("packet 1: {text}"));
    }
    assert_peer(
        &refused(&good),
        "packet 1: device state for \"vfio\", but this side takes none",
    );
    let bench = Bench::with(1, taking(Err("no such device")));
    let error = refused_by(&bench, &good);
    assert_eq!(error.fault(), Fault::Caller);
    assert_eq!(
        error.to_string(),
        "destination, channel 0, packet 1: no such device"
    );
}

#[test]
fn device_state_with_a_name_that_would_change() {
    let _watchdog = Watchdog::start();
    let bench = Bench::with(1, taking(Ok(())));
    let mut packet = stream::device_state("vfio", b"state");
    packet[14] = 0xff;
    let _source = bench.connect(&[stream::init(0), packet].concat()).unwrap();
    let error = bench.receiver.sync().unwrap_err();
    assert!(error.to_string().contains("vf\\xffo"), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
}

/// A receiver whose host takes device state, or does not.
fn taking(answer: Result<(), &'static str>) -> ReceiverConfig {
    let mut config = ReceiverConfig::default();
    config.device_state = Some(Arc::new(move |_| Ok(answer?)));
    config
}

#[test]
fn channels_of_another_migration() {
    let _watchdog = Watchdog::start();
    let uuid = InitPacket {
        uuid: Uuid([0xab; 16]),
        channel: 0,
    };
    for (init, text) in [
        (
            uuid.encode().to_vec(),
            "the peer migrates VM abababab-abab-abab-abab-abababababab, \
             this side expects 00000000-0000-0000-0000-000000000000: give both the same UUID",
        ),
        (
            stream::init(2),
            "channel number 2 in a migration of 2 channels: \
             set multifd-channels to the same number on both sides",
        ),
        (
            stream::init(255),
            "channel number 255 in a migration of 2 channels: \
             set multifd-channels to the same number on both sides",
        ),
    ] {
        let mut config = ReceiverConfig::default();
        config.uuid = Some(Uuid::default());
        let bench = Bench::with(2, config);
        let _source = bench.connect(&init).unwrap();
        let error = bench.receiver.sync().unwrap_err();
        assert_eq!(error.to_string(), format!("destination: {text}"));
        assert_eq!(error.fault(), Fault::Peer);
        ended(&bench, &error);
    }
}

#[test]
fn the_first_channel_says_whose_migration_it_is() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(2);
    let init = |uuid, channel| InitPacket { uuid, channel }.encode();
    let (ours, other) = (Uuid([7; 16]), Uuid([8; 16]));
    let _zero = bench.connect(&init(ours, 0)).unwrap();
    let limit = Duration::from_secs(60);
    assert_eq!(bench.receiver.wait_uuid(limit).unwrap(), ours);
    let _other = bench.connect(&init(other, 1)).unwrap();
    let why = bench.wait_strangers(1);
    assert!(why.contains("08080808-0808"), "{why}");
    let _one = bench.connect(&init(ours, 1)).unwrap();
    let _main = bench.connect(b"QEVM").unwrap();
    bench.wait_complete();
    assert_eq!(bench.receiver.uuid(), Some(ours));
}

/// All of the connections that this side wants are there, and one more comes.
#[test]
fn one_channel_too_many() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(2);
    let _sources: Vec<_> = [&stream::init(0)[..], &stream::init(1), b"QEVM"]
        .iter()
        .map(|bytes| bench.connect(bytes).unwrap())
        .collect();
    bench.wait_complete();
    let _source = bench.connect(&stream::init(2)).unwrap();
    let error = bench.receiver.sync().unwrap_err();
    assert_eq!(
        error.to_string(),
        "destination: channel number 2 in a migration of 2 channels: \
         set multifd-channels to the same number on both sides"
    );
    assert_eq!(error.fault(), Fault::Peer);
    ended(&bench, &error);
}

/// Between two barriers each page comes once, but for a few of an old QEMU's. More of them would keep this side
/// busy for nothing.
#[test]
fn more_pages_than_the_guest_has() {
    let _watchdog = Watchdog::start();
    let all: Vec<u64> = (0..16).map(|page| page * 0x1000).collect();
    let text = "block \"ram\": more pages between two SYNC than 2 times the 16 of the guest";
    let once = stream::packet(&[], &all);
    for (again, place) in [
        (stream::packet(&[], &[0x3000]), "packet 3"),
        (stream::packet(&[0x1000], &[]), "packet 3"),
    ] {
        assert_peer(
            &refused(&[&once[..], &once, &again].concat()),
            &format!("{place}, {text}"),
        );
    }
    // Pages before a barrier do not count behind it.
    let bench = Bench::new(1);
    let round = [once, stream::sync()].concat();
    let rounds = [stream::init(0), stream::sync(), round.repeat(3)].concat();
    let _source = bench.connect(&rounds).unwrap();
    bench.attach();
    for _ in 0..4 {
        bench.receiver.sync().unwrap();
    }
    assert_eq!(bench.receiver.finish().unwrap().total().zero_pages, 48);
}

/// The main channel's zero pages are pages like others.
#[test]
fn more_zero_pages_on_the_main_channel_than_the_guest_has() {
    let _watchdog = Watchdog::start();
    let bench = Bench::new(1);
    bench.attach();
    let pages = guest::pages(&bench.target);
    for (block, offset) in pages.iter().chain(&pages) {
        bench.receiver.zero_page(*block, *offset).unwrap();
    }
    let error = bench
        .receiver
        .zero_page(pages[3].0, pages[3].1)
        .unwrap_err();
    assert_eq!(error.fault(), Fault::Peer);
    assert!(
        error
            .to_string()
            .contains("more pages between two SYNC than 2 times the 16"),
        "{error}"
    );
}

/// Packets that bring nothing do not keep a barrier waiting.
#[test]
fn empty_packets_are_no_progress() {
    let _watchdog = Watchdog::start();
    let mut config = ReceiverConfig::default();
    config.limits.sync = Duration::from_millis(200);
    let bench = Bench::with(2, config);
    let _first = bench
        .connect(&[stream::init(0), stream::sync()].concat())
        .unwrap();
    let mut second = bench.connect(&stream::init(1)).unwrap();
    let empty = stream::packet(&[], &[]);
    let dripping = thread::spawn(move || {
        while send_all(&mut second, &mut [empty.as_slice().into()]).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let error = bench.receiver.sync().unwrap_err();
    assert_eq!(
        error.to_string(),
        "destination: no SYNC from channel 1 within 0.2 s"
    );
    bench.receiver.finish().unwrap_err();
    dripping.join().unwrap();
}
