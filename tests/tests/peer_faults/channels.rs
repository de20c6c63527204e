// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Faults on the channels: packets that cannot be right.

use multifd_tests::by_hand::packet::{DEVICE_STATE, SYNC, device_state};
use multifd_tests::by_hand::{PAGE, Packet, main_stream as stream, packet};

use super::row::{FIRST, MAIN, OTHER, PAGES, Row, SECOND, THIRD};

const PEER: i32 = 3;
const CONNECTION: i32 = 4;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = initial_packets();
    rows.extend(headers());
    rows.extend(offsets());
    rows.extend(device_states());
    rows.extend(late_pages());
    rows
}

/// Who a connection says it is.
fn initial_packets() -> Vec<Row> {
    let number = |name, channel| {
        Row::new(
            name,
            PEER,
            "in a migration of 2 channels: set multifd-channels",
        )
        .head()
        .say(FIRST, packet::init(0))
        .say(SECOND, packet::init(channel))
    };
    let mut other = packet::init(1);
    other
        .iter_mut()
        .skip(8)
        .take(16)
        .for_each(|byte| *byte = 0x55);
    vec![
        number("the number of channels as a channel", 2),
        number("channel 255", 255),
        // To a relay two migrations seem to be mixed up; a destination has one of them already.
        Row::new("two VMs", PEER, "give both the same UUID")
            .only_relayed()
            .head()
            .say(FIRST, packet::init(0))
            .say(SECOND, other.clone()),
        Row::new("a channel of another VM", 0, "listening on")
            .not_relayed()
            .met()
            .say(OTHER, other)
            .await_end(OTHER)
            .ended(),
        Row::new("a second main connection", 0, "listening on")
            .met()
            .say(OTHER, b"QEVM")
            .await_end(OTHER)
            .ended(),
        Row::new("a channel twice", 0, "listening on")
            .met()
            .say(OTHER, packet::init(0))
            .await_end(OTHER)
            .ended(),
        // Whoever knows the VM's UUID may come first, and the migration comes to nothing.
        Row::new(
            "a channel that two want to be",
            CONNECTION,
            "no SYNC from channel 0 within 3 s",
        )
        .say(OTHER, packet::init(0))
        .head()
        .channels()
        .say(MAIN, stream::ram_start_with(b"ram", PAGES * PAGE as u64))
        .say(SECOND, packet::sync()),
        Row::new("one channel more", PEER, "multifd-channels")
            .head()
            .channels()
            .say(THIRD, packet::init(2)),
        Row::new(
            "one channel less",
            CONNECTION,
            "no SYNC from channel 1 within 3 s; only 1 of 2 channels are connected",
        )
        .head()
        .say(FIRST, packet::init(0))
        .say(MAIN, stream::ram_start_with(b"ram", PAGES * PAGE as u64))
        .say(FIRST, packet::sync()),
    ]
}

/// A packet's header.
fn headers() -> Vec<Row> {
    let one = |name, says, packet: Packet| {
        Row::new(name, PEER, says)
            .begun()
            .say(FIRST, packet.bytes())
    };
    let page = || Packet::of_pages(&[0]);
    vec![
        one(
            "another magic",
            "magic 0xdeadbeef",
            Packet {
                magic: 0xdead_beef,
                ..page()
            },
        ),
        one(
            "another version",
            "multifd version 2, wanted 1",
            Packet {
                version: 2,
                ..page()
            },
        ),
        one(
            "more pages than a packet lists",
            "normal_pages is 129, wanted at most 128",
            Packet {
                normal_count: Some(129),
                ..page()
            },
        ),
        one(
            "more zero pages than there is room for",
            "zero_pages is 128, wanted at most 127",
            Packet {
                zero_count: Some(128),
                ..page()
            },
        ),
        one(
            "counts that are more than 4 Gi together",
            "normal_pages is 4294967295, wanted at most 128",
            Packet {
                normal_count: Some(u32::MAX),
                zero_count: Some(2),
                ..page()
            },
        ),
        one(
            "no room for offsets",
            "normal_pages is 1, wanted at most 0",
            Packet {
                alloc: Some(0),
                ..page()
            },
        ),
        one(
            "an unknown block",
            "unknown RAM block",
            Packet {
                name: b"none".to_vec(),
                ..page()
            },
        ),
        one(
            "a name of 256 bytes",
            "unknown RAM block",
            Packet {
                name: vec![b'x'; 256],
                ..page()
            },
        ),
        // The size counts for nothing where no page follows: so say the format and its other readers.
        one(
            "zero pages with a size",
            "magic 0xaaaaaaaa",
            Packet {
                payload: vec![0xaa; 64],
                ..Packet::of_zero_pages(&[0])
            },
        ),
        Row::new(
            "zero pages with a size, and silence",
            CONNECTION,
            "silent for 3 s",
        )
        .begun()
        .say(
            FIRST,
            Packet {
                payload: vec![0xaa; 8],
                ..Packet::of_zero_pages(&[0])
            }
            .bytes(),
        ),
        Row::new("an unknown flag", 0, "listening on")
            .begun()
            .say(
                FIRST,
                Packet {
                    flags: 0x80,
                    ..page()
                }
                .bytes(),
            )
            .ended(),
        Row::new(
            "pages before memory is announced",
            PEER,
            "guest memory is not announced yet",
        )
        .say(FIRST, packet::init(0))
        .say(FIRST, page().bytes())
        .say(SECOND, packet::init(1))
        .head(),
        Row::new(
            "zero pages before memory is announced",
            PEER,
            "guest memory is not announced yet",
        )
        .say(FIRST, packet::init(0))
        .say(FIRST, Packet::of_zero_pages(&[0]).bytes())
        .say(SECOND, packet::init(1))
        .head(),
        Row::new(
            "a payload that is cut",
            CONNECTION,
            "in the middle of a packet",
        )
        .begun()
        .say(
            FIRST,
            page()
                .bytes()
                .split_off(0)
                .into_iter()
                .take(2000)
                .collect::<Vec<_>>(),
        )
        .close(FIRST),
        Row::new(
            "the same pages for ever",
            PEER,
            "more pages between two SYNC than 2 times the 200 of the guest",
        )
        .begun()
        .say(FIRST, flood()),
    ]
}

/// Far more zero pages than the guest has, without a barrier.
fn flood() -> Vec<u8> {
    let all: Vec<u64> = (0..100).map(|page| page * PAGE as u64).collect();
    Packet::of_zero_pages(&all).bytes().repeat(100)
}

/// Where a packet's pages are.
fn offsets() -> Vec<Row> {
    let page = PAGE as u64;
    let mut rows = Vec::new();
    for (name, says, offsets) in [
        (
            "an offset between two pages",
            "is not a multiple of the page size 4096",
            vec![1],
        ),
        (
            "an offset behind the block",
            "is outside the block of 0xc8000 bytes",
            vec![PAGES * page],
        ),
        (
            "an offset at the end of all addresses",
            "is outside the block of 0xc8000 bytes",
            vec![0_u64.wrapping_sub(page)],
        ),
        (
            "a page twice",
            "is listed twice in one packet",
            vec![page, 0, page],
        ),
    ] {
        rows.push(
            Row::new(name, PEER, says)
                .begun()
                .say(FIRST, Packet::of_pages(&offsets).bytes()),
        );
        let zero = Packet::of_zero_pages(&offsets).bytes();
        rows.push(Row::new(name, PEER, says).begun().say(FIRST, zero));
    }
    rows
}

/// State of devices on a channel.
fn device_states() -> Vec<Row> {
    let one = |name, says, bytes: Vec<u8>| Row::new(name, PEER, says).begun().say(FIRST, bytes);
    vec![
        one(
            "device state of 4 GiB",
            "device state of 4294967295 bytes, wanted 1 to 67108864",
            device_state(b"vfio", 0, u32::MAX, b"state"),
        ),
        one(
            "device state of nothing",
            "device state of 0 bytes, wanted 1 to 67108864",
            device_state(b"vfio", 0, 0, b""),
        ),
        one(
            "a device's name without an end",
            "without a terminating NUL",
            device_state(&[b'x'; 256], 0, 5, b"state"),
        ),
        one(
            "device state in a barrier",
            "SYNC and DEVICE_STATE in one packet",
            Packet {
                flags: SYNC | DEVICE_STATE,
                ..Packet::default()
            }
            .bytes(),
        ),
        // A relay takes it behind the switchover only.
        Row::new(
            "device state that is announced and does not come",
            PEER,
            "this side takes none",
        )
        .save(CONNECTION, "silent for 3 s in the middle of a packet")
        .relay(CONNECTION, "silent for 3 s in the middle of a packet")
        .begun()
        .say(MAIN, stream::switchover_start())
        .say(FIRST, device_state(b"vfio", 0, 64 << 20, b"stat")),
        Row::new(
            "device state with an impossible index",
            PEER,
            "this side takes none",
        )
        .save(
            PEER,
            "piece 0 and the configuration, the last one of its state",
        )
        .relay(PEER, "the destination could not take the guest")
        .begun()
        .say(MAIN, stream::switchover_start())
        .say(FIRST, piece(u32::MAX, 0))
        .ended(),
        Row::new(
            "device state whose last piece is an impossible one",
            PEER,
            "this side takes none",
        )
        .save(PEER, "piece 0 of 4294967296 of its state")
        .relay(PEER, "the destination could not take the guest")
        .begun()
        .say(MAIN, stream::switchover_start())
        .say(FIRST, piece(u32::MAX, 1))
        .ended(),
        Row::new(
            "device state of no known layout",
            PEER,
            "this side takes none",
        )
        .save(PEER, "in an unknown layout")
        .relay(
            CONNECTION,
            "no SYNC from channel 0 within 3 s; 1 channels have device state, which waits",
        )
        .begun()
        .say(FIRST, device_state(b"vfio", 0, 5, b"state"))
        .ended(),
    ]
}

/// A piece of a VFIO device's state: its number, and whether it is the last one.
fn piece(number: u32, last: u32) -> Vec<u8> {
    let data = [0, number, last].map(u32::to_be_bytes).concat();
    device_state(b"vfio", 0, 12, &data)
}

/// Pages when all memory has come.
fn late_pages() -> Vec<Row> {
    let says = "pages behind the last SYNC, wanted none: the main channel has ended memory";
    let late = |name, packet: Packet| {
        Row::new(name, PEER, says)
            .begun()
            .sync()
            .say(MAIN, stream::ram_end())
            .say(FIRST, packet.bytes())
    };
    vec![
        late("a page behind the last barrier", Packet::of_pages(&[0])),
        late(
            "zero pages behind the last barrier",
            Packet::of_zero_pages(&[0]),
        ),
    ]
}
