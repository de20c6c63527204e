// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Payloads that are none of the method's.

use multifd_tests::by_hand::{PAGE, Packet};

use super::row::{FIRST, Row};

const ZLIB: u32 = 1 << 1;
const ZSTD: u32 = 2 << 1;
const QPL: u32 = 4 << 1;
const UADK: u32 = 8 << 1;
const QATZIP: u32 = 16 << 1;

const PEER: i32 = 3;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = payloads();
    rows.extend(length_tables());
    rows
}

/// What a page's payload is worth.
fn payloads() -> Vec<Row> {
    let sized = |flags, size| Packet {
        size: Some(size),
        ..Packet::of_payload(flags, b"x")
    };
    let one = |name, method, says, packet: &Packet| {
        Row::new(name, PEER, says)
            .method(method)
            .begun()
            .say(FIRST, packet.bytes())
    };
    let bomb: Vec<u8> = [
        // A frame of a window of 8 KiB, with a block of 8192 times the same byte.
        &[0x28, 0xb5, 0x2f, 0xfd, 0, 0x18][..],
        &[0x03, 0, 1, b'x'],
    ]
    .concat();
    let window: Vec<u8> = [
        0x28,
        0xb5,
        0x2f,
        0xfd,
        0,
        (27 - 10) << 3,
        0x21,
        0x80,
        0,
        b'x',
    ]
    .to_vec();
    vec![
        one(
            "zlib, 16 MiB for a page",
            "zlib",
            "payload of 16777216 bytes for 1 pages, wanted 1 to",
            &sized(ZLIB, 16 << 20),
        ),
        one(
            "zstd, 4 GiB for a page",
            "zstd",
            "payload of 4294967295 bytes for 1 pages, wanted 1 to",
            &sized(ZSTD, u32::MAX),
        ),
        one(
            "qatzip, 2 MiB for a page",
            "qatzip",
            "payload of 2097152 bytes for 1 pages, wanted",
            &sized(QATZIP, 2 << 20),
        ),
        one(
            "zstd, more than the page",
            "zstd",
            "zstd: more than the 4096 bytes of the packet's pages",
            &Packet::of_payload(ZSTD, &bomb),
        ),
        one(
            "zstd, a window of 128 MiB",
            "zstd",
            "zstd: Frame requires too much memory for decoding",
            &Packet::of_payload(ZSTD, &window),
        ),
        one(
            "zlib, no stream",
            "zlib",
            "wanted the header of a zlib stream",
            &Packet::of_payload(ZLIB, b"no stream"),
        ),
        one(
            "qatzip, no member",
            "qatzip",
            "wanted a gzip member with deflate data",
            &Packet::of_payload(QATZIP, &[0xee; 100]),
        ),
        one(
            "another method",
            "zstd",
            "packet compressed with none, wanted zstd",
            &Packet::of_pages(&[0]),
        ),
        one(
            "none, half a page",
            "none",
            "payload of 2048 bytes for 1 pages, wanted 4096",
            &Packet::of_payload(0, &[0xaa; PAGE / 2]),
        ),
    ]
}

/// The lengths of a packet's pages, for methods that say them.
fn length_tables() -> Vec<Row> {
    let table = |lengths: &[u32], data: &[u8]| {
        let mut payload: Vec<u8> = lengths.iter().flat_map(|len| len.to_be_bytes()).collect();
        payload.extend(data);
        payload
    };
    let two = |flags, payload: &[u8]| Packet {
        normal: vec![0, PAGE as u64],
        ..Packet::of_payload(flags, payload)
    };
    let mut rows = Vec::new();
    for (method, flags) in [("qpl", QPL), ("uadk", UADK)] {
        for (name, says, payload) in [
            (
                "a table longer than the payload",
                "payload of 4 bytes for 2 pages, wanted 10 to 8200",
                table(&[4], &[]),
            ),
            (
                "lengths that are more than the payload",
                "300 bytes in sum, wanted the 50 that follow it",
                table(&[100, 200], &[0xee; 50]),
            ),
            (
                "lengths that are less than the payload",
                "200 bytes in sum, wanted the 250 that follow it",
                table(&[100, 100], &[0xee; 250]),
            ),
            (
                "a length of no page",
                "page 0 has a length of 0, wanted 1 to 4096",
                table(&[0, 8], &[0xee; 8]),
            ),
            (
                "a length of 4 GiB",
                "page 0 has a length of 4294967295, wanted 1 to 4096",
                table(&[u32::MAX, 1], &[0xee; 100]),
            ),
        ] {
            let row = Row::new(name, PEER, says).method(method).begun();
            rows.push(row.say(FIRST, two(flags, &payload).bytes()));
        }
    }
    rows
}
