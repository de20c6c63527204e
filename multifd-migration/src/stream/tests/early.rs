// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections before the end of RAM that are not RAM's.

use std::time::Duration;

use multifd_core::PageSize;
use proptest::prelude::*;

use super::recorded::read_all;
use super::wire::{Then, Wire, incoming_in_pieces, outgoing};
use crate::stream::{
    AnnouncedBlock, Command, Configuration, DeviceSection, EarlyPart, EarlyPlace, EarlySection,
    Event, Incoming, MAX_UNKNOWN_LEN, PageSizes, RamPart, Reader, SectionHead, SectionKind,
    SyncMode, Tail, Writer,
};

const PIECES: [usize; 6] = [1, 2, 3, 7, 1000, usize::MAX];

/// A stream with memory of two pages, these sections before RAM's START and beside its first PART, and a tail.
fn stream(before: &[u8], beside: &[u8], tail: &[u8]) -> Vec<u8> {
    let head = b"QEVM\0\0\0\x03\x07\0\0\0\x04none";
    let start = b"\x01\0\0\0\x01\x03ram\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\x20\x04\
        \x03ram\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
    let part = b"\0\0\0\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\x10\x7e\0\0\0\x01";
    [
        &head[..],
        before,
        start,
        b"\x02",
        part,
        beside,
        b"\x03",
        part,
        tail,
    ]
    .concat()
}

const TAIL: &[u8] = b"\0\x06\0\0\0\0";

fn section(kind: SectionKind, id: u32, idstr: &str, data: &[u8]) -> EarlySection {
    let head = SectionHead {
        kind,
        id,
        idstr: idstr.to_owned(),
        instance: 0,
        version: 1,
    };
    EarlySection {
        head,
        data: data.to_vec(),
        place: EarlyPlace::BesideRam,
    }
}

/// A section as it is on the wire.
fn wire(section: &EarlySection) -> Vec<u8> {
    let (mut out, sent) = outgoing(SyncMode::PerRound);
    let (head, place) = (&section.head, section.place);
    for part in [
        EarlyPart::Start { head, place },
        EarlyPart::Data(&section.data),
        EarlyPart::End,
    ] {
        out.early_section(part).unwrap();
    }
    out.flush().unwrap();
    sent.lock().clone()
}

/// The sections that are not RAM's, and whether everything that was passed on is what came.
pub(super) fn read_early(bytes: &[u8], piece: usize) -> Vec<EarlySection> {
    let mut stream = incoming_in_pieces(bytes, piece, Then::Close);
    stream.reader_mut().keep_copy(0);
    let copy = Wire::new(&[], usize::MAX, Then::Close);
    let copied = copy.sent();
    let mut writer = Writer::new(Box::new(copy));
    let mut sections: Vec<EarlySection> = Vec::new();
    loop {
        match stream.next_event().unwrap() {
            Event::EarlyStart(head) => sections.push(EarlySection {
                head,
                data: Vec::new(),
                place: stream.early_place(),
            }),
            Event::EarlyData(data) => {
                assert!(data.len() <= 64 << 10);
                sections.last_mut().unwrap().data.extend(data);
            }
            Event::SectionEnd(RamPart::End) => break,
            _ => {}
        }
        stream.reader_mut().pass_on(&mut writer).unwrap();
        writer.flush().unwrap();
        // Nothing is held back that has been read.
        assert_eq!(copied.lock().len() as u64, stream.reader_mut().offset());
    }
    stream.read_tail().unwrap();
    stream.reader_mut().pass_on(&mut writer).unwrap();
    writer.flush().unwrap();
    assert_eq!(*copied.lock(), bytes);
    sections
}

/// Of each format that is known what QEMU sends.
fn known() -> Vec<EarlySection> {
    use SectionKind::{End, Full, Part, Start};
    let be64 =
        |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };
    let mut virtio_mem = be64(&[1 << 32, 0x2000_0000, 0x20_0000]);
    virtio_mem.extend([0; 4]);
    // Beside the bitmap's own bits, what looks like the footer.
    virtio_mem.extend(be64(&[0x1000_0000, 0x7e00_0000_1404_0000, 0, 0, u64::MAX]));
    let bits = [
        &b"\x4c\x04node\x03bit"[..],
        &7_u64.to_be_bytes(),
        &[0, 0, 1, 0],
        &12_u64.to_be_bytes(),
        b"\x7e\0\0\0\x15\x02\0\0\0\x01xx\x42",
        &9_u64.to_be_bytes(),
        &[0, 0, 2, 0, 0x01],
    ]
    .concat();
    let started = b"\x1c\x01n\x01b\0\x01\0\0\x03\x20\x80\x01".to_vec();
    let tag = 0xffff_ffff_ef10_0000;
    let mut vfio = be64(&[tag + 4, 100_000]);
    vfio.extend(b"\x7e\0\0\0\x16\x02\0\0\0\x01".repeat(10_000));
    vfio.extend(be64(&[tag + 6, tag + 4, 0, tag + 1]));
    let looks_like_the_end = b"\x7e\0\0\0\x17\x02\0\0\0\x01";
    let mut attributes = be64(&[0x1000 | 2, 10]);
    attributes.extend(looks_like_the_end);
    attributes.extend(be64(&[8, 1]));
    let mut table = b"\0\0\0\0\0\0\0\0\0\x02\0\x05".to_vec();
    table.extend([0x7e; 32]);
    table.extend(b"\0\0\0\x09\0\0\0\x01\0\0\0\0\0\0\0\0");
    vec![
        section(
            Full,
            0x14,
            "0000:00:01.0/virtio-mem-device-early",
            &virtio_mem,
        ),
        section(Start, 0x15, "dirty-bitmap", &started),
        section(Start, 0x16, "0000:00:02.0/vfio", &be64(&[tag + 3, tag + 1])),
        section(Start, 0x17, "s390-storage_attributes", &be64(&[1])),
        section(Start, 0x18, "spapr/htab", &[0, 0, 0, 24]),
        section(Part, 0x15, "dirty-bitmap", &bits),
        section(Part, 0x16, "0000:00:02.0/vfio", &vfio),
        section(Part, 0x16, "0000:00:02.0/vfio", &be64(&[tag + 5])),
        section(Part, 0x17, "s390-storage_attributes", &attributes),
        section(Part, 0x18, "spapr/htab", &table),
        section(End, 0x15, "dirty-bitmap", &[0x01]),
        section(End, 0x17, "s390-storage_attributes", &be64(&[8])),
        section(End, 0x18, "spapr/htab", &[0xff; 4]),
    ]
}

#[test]
fn layouts_that_are_known() {
    let known = known();
    let beside: Vec<u8> = known.iter().flat_map(wire).collect();
    for piece in PIECES {
        assert_eq!(read_early(&stream(b"", &beside, TAIL), piece), known);
    }
}

#[test]
fn a_section_before_ram() {
    let known = known().swap_remove(0);
    let bytes = stream(&wire(&known), b"", TAIL);
    let known = EarlySection {
        place: EarlyPlace::BeforeRam,
        ..known
    };
    for piece in PIECES {
        assert_eq!(read_early(&bytes, piece), std::slice::from_ref(&known));
    }
}

#[test]
fn the_end_of_another_layout_is_found() {
    let (ram, id) = (b"\x02\0\0\0\x01", 0x7e00_007e);
    let footer = b"\x7e\x7e\0\0\x7e";
    for data in [
        &b""[..],
        b"x",
        // Footers behind which nothing can begin, and parts of footers.
        footer,
        &[footer, &b"\x02\0\0\0\x02"[..]].concat(),
        &[footer, &b"\x04\0\0\0\x09\x03a\nb\0\0\0\0\0\0\0\0"[..]].concat(),
        &[footer, &b"\x08\0\x02\0\x05"[..]].concat(),
        &[footer, &b"\x08\0\x0c\0\0"[..], footer, b"\0"].concat(),
        &[&footer[..4], footer, &footer[..1]].concat(),
        &[&footer[..4], &footer[..4], &footer[..2]].concat(),
        // Not this section's.
        &[&b"\x7e\0\0\0\x01"[..], ram].concat(),
        &b"\x7e\x7e\0\0".repeat(40_000),
    ] {
        check_end(&section(SectionKind::Full, id, "x", data));
    }
}

#[test]
fn the_end_is_found_of_a_layout_that_is_not_what_it_was() {
    let mem = &known().swap_remove(0).data;
    let larger = [&mem[..], b"\x7e\0\0\0\0"].concat();
    // A bitmap of more than there can be.
    let mut huge = mem.clone();
    huge[8] = 0x7f;
    let tag = 0xffff_ffff_ef10_0004_u64.to_be_bytes();
    let endless = [&tag[..], &[0xff; 8], b"data"].concat();
    for (kind, idstr, data) in [
        (SectionKind::Full, "a/virtio-mem-device-early", &larger[..]),
        (SectionKind::Full, "a/virtio-mem-device-early", &huge),
        (SectionKind::Full, "a/virtio-mem-device-early", &[0; 100]),
        (SectionKind::Start, "a/vfio", &endless),
        (
            SectionKind::Start,
            "a/vfio",
            b"\xff\xff\xff\xff\xef\x10\0\x02data",
        ),
        (SectionKind::Start, "dirty-bitmap", &[0x60; 30]),
        (
            SectionKind::Start,
            "s390-storage_attributes",
            b"\0\0\0\0\0\0\0\x10data",
        ),
        (SectionKind::Part, "htab", b"\0\0\0\x10data"),
    ] {
        let part = section(kind, 0x9_0009, idstr, data);
        match kind {
            SectionKind::Part => {
                let start = section(SectionKind::Start, 0x9_0009, idstr, &[0; 4]);
                let beside = [wire(&start), wire(&part)].concat();
                let read = read_early(&stream(b"", &beside, TAIL), 100);
                assert_eq!(read, [start, part]);
            }
            _ => check_end(&part),
        }
    }
}

/// The section is read wholly, and another one behind it.
fn check_end(section: &EarlySection) {
    let next = self::section(SectionKind::Full, 5, "next", b"");
    let beside = [wire(section), wire(&next)].concat();
    for piece in PIECES {
        let read = read_early(&stream(b"", &beside, TAIL), piece);
        assert_eq!(
            read,
            [section.clone(), next.clone()],
            "{section:?}, {piece}"
        );
    }
}

#[test]
fn a_source_that_is_silent_behind_a_section() {
    let full = section(SectionKind::Full, 9, "x", b"data");
    let bytes = stream(&wire(&full), b"", TAIL);
    // All of it is there that comes before the silence, the footer too.
    let end = 0x11 + wire(&full).len();
    let wire = Wire::new(&bytes[..end], usize::MAX, Then::Silence);
    let mut stream = Incoming::new(Reader::new(Box::new(wire), &[]), PageSize::X86);
    stream.set_silence_limit(Some(Duration::from_secs(7)));
    let mut read = 0;
    let error = loop {
        match stream.next_event() {
            Ok(_) => read = stream.reader_mut().offset(),
            Err(error) => break error.to_string(),
        }
    };
    assert_eq!(read, end as u64);
    // It may as well be silent inside of the section.
    assert!(error.ends_with("the peer was silent for 7 s"), "{error}");
}

#[test]
fn a_source_may_be_silent_where_a_section_is_known_to_have_ended() {
    let tag = 0xffff_ffff_ef10_0001_u64.to_be_bytes();
    let start = section(SectionKind::Start, 9, "a/vfio", &tag);
    let bytes = stream(&wire(&start), b"", TAIL);
    let end = 0x11 + wire(&start).len();
    for (len, is_limited) in [(end - 1, true), (end, false)] {
        let wire = Wire::new(&bytes[..len], usize::MAX, Then::Silence);
        let mut stream = Incoming::new(Reader::new(Box::new(wire), &[]), PageSize::X86);
        stream.set_silence_limit(Some(Duration::from_secs(7)));
        let error = read_all(&mut stream).unwrap_err().to_string();
        assert_eq!(error.ends_with("silent for 7 s"), is_limited, "{error}");
    }
}

#[test]
fn an_end_is_not_looked_for_without_a_limit() {
    let full = section(SectionKind::Full, 9, "x", b"");
    let mut bytes = stream(&wire(&full), b"", b"");
    bytes.truncate(0x11 + wire(&full).len() - 5);
    let endless = usize::try_from(MAX_UNKNOWN_LEN).unwrap() + (1 << 20);
    bytes.resize(bytes.len() + endless, 1);
    let mut stream = incoming_in_pieces(&bytes, usize::MAX, Then::Close);
    let error = loop {
        if let Err(error) = stream.next_event() {
            break error.to_string();
        }
    };
    let want = "main stream, byte 0x11: state of \"x\" before the end of RAM that does not end within \
        67108864 bytes is not supported: migrate without this device, or without the capability that sends it";
    assert_eq!(error, want);
}

#[test]
fn ids_are_those_of_sections() {
    let start = section(SectionKind::Start, 9, "dirty-bitmap", &[1]);
    let end = section(SectionKind::End, 9, "dirty-bitmap", &[1]);
    for (sections, want) in [
        (vec![&start, &start], "a section's id begins twice"),
        (
            vec![&end],
            "a section's continuation comes before its start",
        ),
        (
            vec![&start, &end, &end],
            "a section's continuation comes before its start",
        ),
    ] {
        let before: Vec<u8> = sections.into_iter().flat_map(wire).collect();
        let bytes = stream(&before, b"", TAIL);
        let error = read_all(&mut incoming_in_pieces(&bytes, 9, Then::Close)).unwrap_err();
        assert!(error.to_string().ends_with(want), "{error}");
    }
}

#[test]
fn a_tail_behind_sections_that_are_named_in_its_description() {
    let mem = section(SectionKind::Full, 7, "a/other-early", &[7; 3]);
    let start = section(SectionKind::Start, 8, "dirty-bitmap", &[1]);
    let end = section(
        SectionKind::End,
        8,
        "dirty-bitmap",
        b"\x7e\0\0\0\x08\x7f\x01",
    );
    let vfio = section(
        SectionKind::Start,
        9,
        "vfio",
        &0xffff_ffff_ef10_0001_u64.to_be_bytes(),
    );
    let vfio_end = section(SectionKind::End, 9, "vfio", &[0x7e; 900]);
    let timer = section(SectionKind::Full, 10, "timer", &[10; 10]);
    let device = |name: &str, size: usize| serde_json::json!({"name": name, "instance_id": 0, "fields": [{"size": size}]});
    let text = serde_json::json!({
        "devices": [device("a/other-early", 3), device("timer", 10)],
    });
    let text = text.to_string();
    let len = u32::try_from(text.len()).unwrap().to_be_bytes();
    let tail = [
        &wire(&end)[..],
        &wire(&vfio_end),
        &wire(&timer),
        &[0, 6],
        &len,
        text.as_bytes(),
    ]
    .concat();
    let beside = [wire(&mem), wire(&start), wire(&vfio)].concat();
    let mut bytes = stream(b"\x08\0\x01\0\0", &beside, &tail);
    for piece in PIECES {
        // It ends with the description, though the source is still there.
        let mut stream = incoming_in_pieces(&bytes, piece, Then::Silence);
        let (_, read) = read_all(&mut stream).unwrap();
        assert_eq!(read.bytes, tail);
        let sections = read.sections.as_ref().unwrap();
        assert_eq!(sections.len(), 1);
        assert_eq!(read.data(&sections[0]), [10; 10]);
        assert_eq!(stream.early_full_sections(), 1);
    }
    assert_eq!(Tail::parse(tail.clone()).unwrap().sections, None);
    let behind = Tail::parse_behind(tail, 1).unwrap();
    assert_eq!(behind.sections.unwrap().len(), 1);
    // A device that never came is not skipped.
    bytes.splice(..bytes.len(), stream(b"\x08\0\x01\0\0", b"", &behind.bytes));
    read_all(&mut incoming_in_pieces(&bytes, 900, Then::Silence)).unwrap_err();
}

#[test]
fn what_is_sent_again_is_described() {
    let sections = known();
    let (mut out, sent) = outgoing(SyncMode::PerRound);
    out.set_ram_section_id(2);
    out.configuration(&Configuration::default()).unwrap();
    out.command(Command::OpenReturnPath).unwrap();
    let mut send = |sections: &[EarlySection]| {
        for section in sections {
            let (head, place) = (&section.head, section.place);
            out.early_section(EarlyPart::Start { head, place }).unwrap();
            // In pieces of any size.
            for piece in section.data.chunks(7) {
                out.early_section(EarlyPart::Data(piece)).unwrap();
            }
            out.early_section(EarlyPart::End).unwrap();
        }
    };
    send(&sections[..1]);
    // Ids that a device would be given otherwise.
    let taken = [4, 5].map(|id| section(SectionKind::Start, id, "dirty-bitmap", &[1]));
    send(&taken);
    let block = AnnouncedBlock {
        name: multifd_core::wire::BlockName::new("ram").unwrap(),
        used_length: 4096,
    };
    let mut start = out.ram_start(vec![block]).unwrap();
    start.sync().unwrap();
    start.finish().unwrap();
    let mut end = out.ram_end().unwrap();
    end.sync().unwrap();
    end.finish().unwrap();
    let device = |name: &str| DeviceSection {
        name: name.into(),
        instance: 0,
        version: 1,
        data: vec![7; 30],
    };
    out.tail(&[device("timer"), device("cpu"), device("globalstate")])
        .unwrap();
    out.flush().unwrap();
    let mut stream = incoming_in_pieces(&sent.lock(), 100, Then::Silence);
    let (_, tail) = read_all(&mut stream).unwrap();
    let devices = tail.sections.unwrap();
    let ids: Vec<_> = devices.iter().map(|device| device.id).collect();
    assert_eq!(ids, [3, 6, 7]);
}

#[test]
fn pieces_are_written_in_order() {
    let one = section(SectionKind::Full, 1, "x", &[]);
    let two = section(SectionKind::Full, 2, "x", &[]);
    let start = |section| EarlyPart::Start {
        head: section,
        place: EarlyPlace::BeforeRam,
    };
    let nameless = section(SectionKind::Full, 2, "", &[]);
    let one = start(&one.head);
    let two = start(&two.head);
    for (parts, want) in [
        (vec![EarlyPart::End], "comes without its start"),
        (vec![EarlyPart::Data(&[1])], "comes without its start"),
        (vec![two, two], "a section begins inside of another"),
        (vec![one], "wanted another one than RAM's"),
        (vec![start(&nameless.head)], "not empty, without NUL"),
    ] {
        let (mut out, _) = outgoing(SyncMode::PerRound);
        let written: Result<(), _> = parts
            .into_iter()
            .try_for_each(|part| out.early_section(part));
        let error = written.unwrap_err().to_string();
        assert!(error.ends_with(want), "{error}");
    }
}

#[test]
fn postcopy_that_is_allowed_and_does_not_begin() {
    let sizes = PageSizes {
        host: 0x20_1000,
        target: 0x1000,
    };
    let advise = [
        &b"\x08\0\x03\0\x10"[..],
        &sizes.host.to_be_bytes(),
        &sizes.target.to_be_bytes(),
    ]
    .concat();
    let name = |name: &str| multifd_core::wire::BlockName::new(name).unwrap();
    let blocks = [("huge", 0x40_0000), ("small", 0x1000), ("last", 0x20_0000)].map(
        |(block, used_length)| AnnouncedBlock {
            name: name(block),
            used_length,
        },
    );
    let list = b"\x04huge\0\0\0\0\0\x40\0\0\0\0\0\0\0\x20\0\0\x05small\0\0\0\0\0\0\x10\0\
        \x04last\0\0\0\0\0\x20\0\0\0\0\0\0\0\x20\0\0";
    let whole = stream(&advise, b"", TAIL);
    let at = whole
        .windows(4)
        .position(|bytes| bytes == b"\x03ram")
        .unwrap();
    let from = at + 4 + 8;
    let mut bytes = whole[..from].to_vec();
    bytes.extend(0x60_1004_u64.to_be_bytes());
    bytes.extend(list);
    bytes.extend(&whole[from + 8 + 12..]);
    for piece in PIECES {
        let mut stream = incoming_in_pieces(&bytes, piece, Then::Close);
        let (events, _) = read_all(&mut stream).unwrap();
        let advised = Command::PostcopyAdvise(Some(sizes));
        assert_eq!(events[1], Event::Command(advised));
        assert_eq!(stream.blocks(), blocks);
    }
    // Dirty bitmaps alone: no page sizes, and none in the list.
    let bytes = stream(b"\x08\0\x03\0\0", b"", TAIL);
    let (events, _) = read_all(&mut incoming_in_pieces(&bytes, 5, Then::Close)).unwrap();
    assert_eq!(events[1], Event::Command(Command::PostcopyAdvise(None)));
}

proptest! {
    #[test]
    fn any_data_with_any_name_comes_back(
        data in prop::collection::vec(
            prop_oneof![any::<u8>().prop_map(|byte| vec![byte]), Just(b"\x7e\0\0\0\x05".to_vec())],
            0..300,
        ),
        idstr in prop_oneof![
            Just("a/vfio"), Just("dirty-bitmap"), Just("s390-storage_attributes"), Just("spapr/htab"), Just("other"),
        ],
        piece in 1_usize..100,
    ) {
        let start = section(SectionKind::Start, 5, idstr, &data.concat());
        let bytes = stream(b"", &wire(&start), TAIL);
        let mut stream = incoming_in_pieces(&bytes, piece, Then::Close);
        stream.reader_mut().keep_copy(0);
        // A layout that is known may lead astray, but nothing is lost.
        let _ = read_all(&mut stream);
        let read = stream.reader_mut().offset();
        let copy = Wire::new(&[], usize::MAX, Then::Close);
        let copied = copy.sent();
        let mut writer = Writer::new(Box::new(copy));
        stream.reader_mut().pass_on(&mut writer).unwrap();
        writer.flush().unwrap();
        let read = usize::try_from(read).unwrap();
        prop_assert_eq!(&*copied.lock(), &bytes[..read]);
    }
}
