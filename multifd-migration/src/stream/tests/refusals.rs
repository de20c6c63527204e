// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination refuses, and what it says then.

use multifd_core::wire::Uuid;
use multifd_core::{Fault, PageSize};

use super::recorded::{read_all, vector};
use super::wire::{Then, Wire, incoming};
use crate::stream::{Configuration, Event, Incoming, MAX_BLOCKS, Reader};

const BLOCK: &[u8] = b"\x03ram\0\0\0\0\0\x40\0\0";
const FLUSH: u64 = 0x200;

#[test]
fn heads() {
    let stream = vector("none-qemu-10.0");
    for (at, byte, text) in [
        (
            0,
            b'R',
            "byte 0x0: the stream's magic is 0x5245564d, wanted 0x5145564d",
        ),
        (7, 2, "byte 0x4: the stream's version is 0x2, wanted 0x3"),
        (
            8,
            1,
            "byte 0x8: a section's type is 0x1, \
             wanted the configuration (0x07); set send-configuration=on at the source",
        ),
        (
            11,
            4,
            "byte 0x9: the length of the machine name is 1028, wanted at most 1024",
        ),
        (
            13,
            0xff,
            "byte 0x9: machine \"\u{fffd}one\" is not a name: wanted UTF-8, not empty, without NUL",
        ),
    ] {
        let mut stream = stream.clone();
        stream[at] = byte;
        refused(&stream, text);
    }
}

#[test]
fn long_names_are_cut_in_messages() {
    let mut stream = b"QEVM\0\0\0\x03\x07\0\0\x04\0".to_vec();
    stream.extend([1; 1023]);
    stream.push(0);
    let start = "main stream, byte 0x9: machine \"\\u{1}";
    let error = error(&stream);
    assert!(error.starts_with(start), "{error}");
    assert!(error.len() < 500, "{error}");
}

#[test]
fn subsections() {
    for (data, text) in [
        (
            &b"\x05\x03foo\0\0\0\x01"[..],
            "byte 0x11: unknown sub-section of the configuration \"foo\"",
        ),
        (
            b"\x05\x12configuration/uuid\0\0\0\x02",
            "byte 0x25: a sub-section's version is 0x2, wanted 0x1",
        ),
        (
            b"\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0\x0d",
            "byte 0x8: a guest with pages of 2^13 bytes, wanted 4096 as this side is set to",
        ),
        (
            b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0fx-ignore-shared",
            "byte 0x8: the capability x-ignore-shared is not supported: turn it off at the source",
        ),
        (
            b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0amapped-ram",
            "byte 0x8: the capability mapped-ram is not supported: \
             turn it off at the source; it is for files, not for connections",
        ),
        (
            b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x03foo",
            "byte 0x35: unknown capability \"foo\"",
        ),
        (
            b"\x05\x1aconfiguration/capabilities\0\0\0\x01\xff\xff\xff\xff",
            "byte 0x31: the number of capabilities is 4294967295, wanted at most 16",
        ),
    ] {
        // A byte more shows that the configuration has ended.
        refused(&[&head(), data, &[1]].concat(), text);
    }
    let uuid = b"\x05\x12configuration/uuid\0\0\0\x01aaaabbbbccccdddd";
    let text = "byte 0x39: a sub-section of the configuration comes twice";
    refused(&[&head()[..], uuid, uuid].concat(), text);
}

#[test]
fn what_a_configuration_may_have() {
    let page_bits = b"\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0\x0c";
    let uuid = b"\x05\x12configuration/uuid\0\0\0\x01aaaabbbbccccdddd\0";
    let mut stream = incoming(&[&head()[..], page_bits, uuid].concat());
    let expected = Configuration {
        machine: "none".to_owned(),
        page_bits: Some(12),
        uuid: Some(Uuid(*b"aaaabbbbccccdddd")),
        ..Configuration::default()
    };
    assert_eq!(stream.next_event().unwrap(), Event::Configuration(expected));
    // An empty machine name suits every machine.
    let mut stream = incoming(b"QEVM\0\0\0\x03\x07\0\0\0\0\0");
    let expected = Event::Configuration(Configuration::default());
    assert_eq!(stream.next_event().unwrap(), expected);
}

#[test]
fn larger_pages() {
    let page_bits = b"\x05\x1econfiguration/target-page-bits\0\0\0\x01\0\0\0\x10";
    let start =
        b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04\0\0\0\0\x00\x01\0\x04\x03ram\0\0\0\0\0\x01\0\0";
    let stream = [&head()[..], page_bits, start].concat();
    let large = PageSize::new(0x10000).unwrap();
    for wanted in [Some(large), None] {
        let reader = Reader::new(Box::new(Wire::new(&stream, 9, Then::Close)), &[]);
        let mut stream = Incoming::new(reader, wanted);
        stream.next_event().unwrap();
        assert_eq!(stream.page_size(), large);
        let Event::RamStart { blocks, .. } = stream.next_event().unwrap() else {
            panic!("no start of RAM");
        };
        assert_eq!(blocks[0].used_length, 0x10000);
    }
}

#[test]
fn the_size_of_pages() {
    let [small, large] = [0x1000, 0x4000].map(PageSize::new);
    for (page_bits, wanted, want) in [
        (None, None, small),
        (None, large, large),
        (Some(14), None, large),
        (Some(14), large, large),
        (Some(14), small, None),
        (Some(10), None, None),
        (Some(17), None, None),
        (Some(32), None, None),
        (Some(u32::MAX), small, None),
    ] {
        let configuration = Configuration {
            page_bits,
            ..Configuration::default()
        };
        let got = configuration.page_size(wanted);
        assert_eq!(got.as_ref().ok(), want.as_ref(), "{page_bits:?} {wanted:?}");
        if let (Err(problem), Some(bits)) = (got, page_bits) {
            assert!(problem.to_string().contains(&format!("2^{bits} bytes")));
        }
    }
}

#[test]
fn commands() {
    for (data, text) in [
        (
            &b"\x08\0\x03\0\x08"[..],
            "byte 0x12: a command's length is 0x8, wanted 0 or 16 for POSTCOPY_ADVISE",
        ),
        (
            b"\x08\0\x06\0\x08",
            "byte 0x12: command POSTCOPY_RAM_DISCARD is not supported: \
             postcopy has begun at the source, wanted a migration without migrate-start-postcopy",
        ),
        (
            b"\x08\0\x07\0\x04\0\0\0\x10",
            "byte 0x12: command PACKAGED is not supported: \
             postcopy has begun at the source, wanted a migration without migrate-start-postcopy",
        ),
        (
            b"\x08\0\x08\0\0",
            "byte 0x12: command ENABLE_COLO is not supported: \
             turn off the capability x-colo at the source",
        ),
        (
            b"\x08\x01\0\0\0",
            "byte 0x12: command 256 is not supported: \
             the stream is damaged, or the source is newer than this program",
        ),
        (
            b"\x08\0\x02\xff\xff",
            "byte 0x12: a command's length is 0xffff, wanted 4 for PING",
        ),
        (
            b"\x08\0\x02\0\x04\0\0\0\x01",
            "byte 0x11: PING comes without a return path",
        ),
        (
            b"\x08\0\x01\0\0\x08\0\x01\0\0",
            "byte 0x16: OPEN_RETURN_PATH comes twice",
        ),
    ] {
        refused(&[&head(), data].concat(), text);
    }
}

#[test]
fn sections() {
    let start = start(&[BLOCK], 0x40_0000);
    for (data, text) in [
        (
            &b"\0"[..],
            "byte 0x11: the end of the stream comes before the end of RAM",
        ),
        (
            b"\x7e\0\0\0\x01",
            "byte 0x11: a section's type is 0x7e, \
             wanted a command (8) or a section (1, 2, 3, 4)",
        ),
        (
            b"\x02\0\0\0\x01",
            "byte 0x11: a section's continuation comes before its start",
        ),
        (
            b"\x01\0\0\0\0\x00\0\0\0\0\0\0\0\x01",
            "byte 0x16: section \"\" is not a name: wanted UTF-8, not empty, without NUL",
        ),
        (
            b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x03",
            "byte 0x11: the version of RAM is 0x3, wanted 4",
        ),
        (
            b"\x01\0\0\0\x01\x03ram\0\0\0\x01\0\0\0\x04",
            "byte 0x11: the instance of RAM is 0x1, wanted 0",
        ),
    ] {
        refused(&[&head(), data].concat(), text);
    }
    for (data, text) in [
        (&start[..], "byte 0x4b: the start of RAM comes twice"),
        (
            b"\x02\0\0\0\x02",
            "byte 0x4b: a section's id is 0x2, wanted 0x1, RAM's, or that of another open one",
        ),
        (
            b"\x04\0\0\0\x01\x05timer\0\0\0\0\0\0\0\x02",
            "byte 0x4b: a section's id begins twice",
        ),
    ] {
        let stream = [&head(), &start[..], &words(&[FLUSH, 0x10]), FOOTER, data].concat();
        refused(&stream, text);
    }
    for (footer, text) in [
        (
            b"\x02\0\0\0\x01",
            "byte 0x46: a byte is 0x2, \
             wanted a section's footer (0x7e); set send-section-footer=on at the source",
        ),
        (
            b"\x7e\0\0\0\x02",
            "byte 0x46: a footer's section id is 0x2, wanted 0x1, the section that it closes",
        ),
    ] {
        let stream = [&head(), &start[..], &words(&[FLUSH, 0x10]), footer].concat();
        refused(&stream, text);
    }
}

#[test]
fn block_lists() {
    let odd: &[u8] = b"\x03odd\0\0\0\0\0\x00\x08\0";
    let empty: &[u8] = b"\x00\0\0\0\0\0\x00\x10\0";
    for (blocks, total, text) in [
        (
            &[BLOCK, BLOCK][..],
            0x80_0000,
            "byte 0x36: RAM block \"ram\" is listed twice",
        ),
        (
            &[BLOCK],
            0x3f_f000,
            "byte 0x2a: RAM block \"ram\" has 0x400000 bytes, \
             but only 0x3ff000 bytes of the total are left",
        ),
        (
            &[odd],
            0x1000,
            "byte 0x2a: a RAM block's length is 0x800, wanted a multiple of the page size 4096: does the guest \
             have other pages?",
        ),
        (
            &[empty],
            0x1000,
            "byte 0x2a: the list of RAM blocks ends 0x1000 bytes before the total of memory",
        ),
        (
            &[BLOCK],
            0xffff_ffff_ffff_f000,
            "byte 0x36: the stream ended in a RAM block's name: got 0 bytes of 1",
        ),
    ] {
        refused_or_ended(&[head(), start(blocks, total)].concat(), text);
    }
    let mut stream = [head(), start(&[], 0x1000)].concat();
    for number in 0..=MAX_BLOCKS {
        stream.push(5);
        stream.extend(format!("{number:05}").bytes());
        stream.extend([0; 8]);
    }
    let text = "the number of RAM blocks is 16385, wanted at most 16384";
    assert!(error(&stream).ends_with(text));
}

#[test]
fn ram_words() {
    for (word, more, text) in [
        (
            0x8,
            &b""[..],
            "byte 0x36: RAM word 0x8: a page on the main channel: \
             turn on multifd at the source, and leave out postcopy",
        ),
        (
            0x1048,
            b"",
            "byte 0x36: RAM word 0x1048: unknown flags behind the list of RAM blocks, whose lengths have \
             reached the total: the total is less than that of all blocks, a block has no pages, or the \
             page sizes differ",
        ),
        (
            0x60,
            b"",
            "byte 0x36: RAM word 0x60: a page compressed with XBZRLE: \
             turn off xbzrle at the source",
        ),
        (
            0x100,
            b"",
            "byte 0x36: RAM word 0x100: a page compressed by threads: \
             turn off compress at the source",
        ),
        (
            0x80,
            b"",
            "byte 0x36: RAM word 0x80: a word of RDMA, which is not supported",
        ),
        (
            0x1004,
            b"",
            "byte 0x36: RAM word 0x1004: a second list of RAM blocks",
        ),
        (
            0x1200,
            b"",
            "byte 0x36: RAM word 0x1200: wanted no address and no other flag",
        ),
        (
            0x30,
            b"",
            "byte 0x36: RAM word 0x30: wanted no address and no other flag",
        ),
        (
            0x22,
            b"\0",
            "byte 0x3e: a page of the same block as before comes first",
        ),
        (2, b"\x03rom\0", "byte 0x3e: unknown RAM block \"rom\""),
        (
            2,
            b"\x03ram\x01",
            "byte 0x42: the byte that fills a page is 0x1, wanted 0",
        ),
        (
            0x40_0002,
            b"\x03ram\0",
            "byte 0x3e: page at 0x400000 is outside RAM block \"ram\" of 0x400000 bytes",
        ),
        (
            0xffff_ffff_ffff_f002,
            b"\x03ram\0",
            "byte 0x3e: page at 0xfffffffffffff000 is outside RAM block \"ram\" of 0x400000 bytes",
        ),
    ] {
        let stream = [
            &head(),
            &start(&[BLOCK], 0x40_0000)[..],
            &words(&[word]),
            more,
        ]
        .concat();
        refused(&stream, text);
    }
    let mut stream = [head(), start(&[BLOCK], 0x40_0000)].concat();
    stream[0x29] = 0x10;
    let text = "byte 0x22: RAM word 0x400010: wanted the total of memory (MEM_SIZE, 0x4) first";
    refused(&stream, text);
}

#[test]
fn a_flush_of_a_source_that_does_not_flush() {
    let part = [b"\x02\0\0\0\x01", &words(&[FLUSH])[..]].concat();
    let start = [&start(&[BLOCK], 0x40_0000), &words(&[0x10])[..], FOOTER].concat();
    let text = "byte 0x48: a FLUSH word comes after a RAM START without one";
    refused(&[head(), start, part].concat(), text);
}

#[test]
fn calls_out_of_turn() {
    let mut stream = incoming(&vector("none-qemu-10.0"));
    assert_eq!(stream.read_tail().unwrap_err().fault(), Fault::Caller);
    read_all(&mut stream).unwrap();
    assert_eq!(stream.next_event().unwrap_err().fault(), Fault::Caller);
    assert_eq!(stream.read_tail().unwrap_err().fault(), Fault::Caller);
}

const FOOTER: &[u8] = b"\x7e\0\0\0\x01";

/// What comes before the first section; 0x11 bytes.
fn head() -> Vec<u8> {
    b"QEVM\0\0\0\x03\x07\0\0\0\x04none".to_vec()
}

/// The start of RAM up to the end of the list of blocks; the list begins at byte 0x2a.
fn start(blocks: &[&[u8]], total: u64) -> Vec<u8> {
    let header = b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04";
    [&header[..], &(total | 4).to_be_bytes(), &blocks.concat()].concat()
}

/// What is wrong behind the mark of a barrier is known before the barrier is waited for.
#[test]
fn a_footer_behind_a_barrier() {
    let stream = vector("none-qemu-10.0");
    let mut good = incoming(&stream);
    while good.next_event().unwrap() != Event::Sync {}
    good.check_ahead().unwrap();
    // Behind the mark, and the word that ends the section.
    let footer = usize::try_from(good.reader_mut().offset()).unwrap() + 8;
    for (at, text) in [
        (footer, "a byte is 0x57, wanted a section's footer (0x7e)"),
        (footer + 4, "a footer's section id is 0x57"),
    ] {
        let mut bad = stream.clone();
        bad[at] = 0x57;
        let mut bad = incoming(&bad);
        while bad.next_event().unwrap() != Event::Sync {}
        let error = bad.check_ahead().unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(error.contains(&format!("byte {footer:#x}")), "{error}");
    }
    // Where it has not come yet nothing is known.
    let mut cut = incoming(&stream[..footer]);
    while cut.next_event().unwrap() != Event::Sync {}
    cut.check_ahead().unwrap();
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn error(stream: &[u8]) -> String {
    read_all(&mut incoming(stream)).unwrap_err().to_string()
}

fn refused(stream: &[u8], text: &str) {
    let error = read_all(&mut incoming(stream)).unwrap_err();
    assert_eq!(error.to_string(), format!("main stream, {text}"));
    assert_eq!(error.fault(), Fault::Peer);
    assert!(error.problem().is_some());
}

fn refused_or_ended(stream: &[u8], text: &str) {
    assert_eq!(error(stream), format!("main stream, {text}"));
}
