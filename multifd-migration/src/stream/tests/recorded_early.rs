// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What real QEMUs sent whose guests have sections before the end of RAM that are not RAM's, pages of a named size,
//! or `postcopy-ram` on.

use std::fs;

use super::early::read_early;
use super::recorded::{read_all, vectors};
use super::wire::incoming;
use crate::stream::{Command, EarlyPlace, EarlySection, Event, PageSizes, SectionKind};

use SectionKind::{Full, Part, Start};

/// The sections of a recording. In pieces of any size they are the same, and passed on as they came.
fn sections(name: &str) -> Vec<EarlySection> {
    let bytes = main_stream(name);
    let sections = read_early(&bytes, usize::MAX);
    for piece in [1, 2, 3, 7, 1000] {
        assert_eq!(read_early(&bytes, piece), sections, "{name}, {piece}");
    }
    sections
}

/// Which sections they are, and the length of each one's data.
fn outline(sections: &[EarlySection]) -> Vec<(SectionKind, &str, usize)> {
    let outline = sections.iter().map(|section| {
        let head = &section.head;
        (head.kind, head.idstr.as_str(), section.data.len())
    });
    outline.collect()
}

/// The last section of a device stands behind the end of RAM: it begins the tail, and ends with `end`.
fn check_last_section(name: &str, first: &EarlySection, end: &[u8]) {
    let (_, tail) = read_all(&mut incoming(&main_stream(name))).unwrap();
    let id = first.head.id.to_be_bytes();
    assert!(
        tail.bytes.starts_with(&[&[0x03], &id[..]].concat()),
        "{name}"
    );
    let end = [end, &[0x7e], &id].concat();
    let mut places = tail.bytes.windows(end.len());
    assert!(places.any(|bytes| bytes == end), "{name}");
}

#[test]
fn memory_that_is_plugged() {
    let sections = sections("virtio-mem-qemu-10.0");
    let name = "0000:00:01.0/virtio-mem-device-early";
    // 256 MiB in blocks of 2 MiB are 128 bits.
    assert_eq!(outline(&sections), [(Full, name, 8 + 8 + 8 + 4 + 8 + 16)]);
    // A QEMU 10.0 sends RAM's START first, all the same.
    assert_eq!(sections[0].place, EarlyPlace::BehindStart);
    let (_, tail) = read_all(&mut incoming(&main_stream("virtio-mem-qemu-10.0"))).unwrap();
    // It is in the description, but not in the tail.
    let devices = tail.sections.unwrap();
    assert!(devices.iter().all(|device| device.idstr != name));
    assert_eq!(devices.last().unwrap().idstr, "globalstate");
}

#[test]
fn bitmaps_of_a_disk() {
    let sections = sections("dirty-bitmap-qemu-10.0");
    let mut heads = sections.iter().map(|section| &section.head);
    assert!(heads.clone().all(|head| head.idstr == "dirty-bitmap"));
    assert_eq!(heads.next().unwrap().kind, Start);
    assert!(heads.all(|head| head.kind == Part));
    for name in [&b"\x04disk"[..], b"\x03one", b"\x07another"] {
        assert!(
            sections[0]
                .data
                .windows(name.len())
                .any(|bytes| bytes == name)
        );
    }
    let complete = b"\x24\x07another\x24\x03one\x01";
    check_last_section("dirty-bitmap-qemu-10.0", &sections[0], complete);
}

#[test]
fn storage_attributes() {
    let sections = sections("s390x-qemu-10.0");
    let name = "s390-storage_attributes";
    assert_eq!(outline(&sections), [(Start, name, 8), (Part, name, 8)]);
    let last = b"\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x01";
    check_last_section("s390x-qemu-10.0", &sections[0], last);
}

/// The recorded guest has entered 64 translations, each in a group of its own.
#[test]
fn a_hash_table() {
    const ENTRIES: usize = 64;
    let sections = sections("pseries-qemu-10.0");
    let name = "spapr/htab";
    let part = 4 + ENTRIES * (8 + 16) + 8;
    // The second part has what has changed since: nothing.
    assert_eq!(
        outline(&sections),
        [(Start, name, 4), (Part, name, part), (Part, name, 4 + 8)]
    );
    let records = sections[1].data[4..].chunks(8 + 16).take(ENTRIES);
    for (page, record) in (0_u32..).zip(records) {
        let index = (128 * page).to_be_bytes();
        assert_eq!(record[..8], [&index[..], &[0, 1, 0, 0]].concat());
    }
    check_last_section("pseries-qemu-10.0", &sections[0], &[0; 4 + 8]);
}

#[test]
fn pages_of_a_named_size() {
    let bytes = main_stream("aarch64-qemu-10.0");
    let (events, tail) = read_all(&mut incoming(&bytes)).unwrap();
    let Some(Event::Configuration(configuration)) = events.first() else {
        panic!("{events:?}");
    };
    assert_eq!(configuration.page_bits, Some(12));
    assert!(tail.sections.unwrap().len() > 8);
}

#[test]
fn postcopy_that_is_allowed() {
    let bytes = main_stream("postcopy-ram-qemu-11.1");
    let (events, tail) = read_all(&mut incoming(&bytes)).unwrap();
    let (host, target) = (4096, 4096);
    let advise = Command::PostcopyAdvise(Some(PageSizes { host, target }));
    assert!(events.contains(&Event::Command(advise)));
    assert!(tail.sections.is_some());
}

fn main_stream(name: &str) -> Vec<u8> {
    fs::read(vectors().join(format!("{name}.main"))).unwrap()
}
