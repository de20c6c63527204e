// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What real QEMUs sent is read, and written again byte for byte.

use std::fs;
use std::path::{Path, PathBuf};

use multifd_core::wire::BlockName;

use super::wire::{Then, incoming, incoming_in_pieces, outgoing};
use crate::stream::{
    AnnouncedBlock, Command, Configuration, EarlyPart, EarlyPlace, Event, Incoming, Outgoing,
    RAM_SECTION_ID, RamPart, StreamError, SyncMode, Tail,
};

#[test]
fn a_per_round_stream() {
    for name in [
        "none-qemu-10.0",
        "zlib-qemu-10.0",
        "zstd-qemu-10.0",
        "qatzip-qemu-10.2",
        "qpl-qemu-10.2",
    ] {
        let (events, tail) = read_all(&mut incoming(&vector(name))).unwrap();
        let expected = [
            configuration(),
            ram_start(),
            Event::Sync,
            Event::SectionEnd(RamPart::Start),
            Event::Sync,
            Event::SectionEnd(RamPart::Part),
            Event::Command(Command::SwitchoverStart),
            Event::Sync,
            Event::SectionEnd(RamPart::End),
        ];
        assert_eq!(events, expected, "{name}");
        check_tail(&tail);
    }
}

#[test]
fn a_per_section_stream() {
    let mut stream = incoming(&vector("zstd-per-section-qemu-10.0"));
    let (events, tail) = read_all(&mut stream).unwrap();
    let expected = [
        configuration(),
        ram_start(),
        Event::Sync,
        Event::SectionEnd(RamPart::Start),
        Event::Sync,
        Event::SectionEnd(RamPart::Part),
        Event::Command(Command::SwitchoverStart),
        Event::Sync,
        Event::SectionEnd(RamPart::End),
    ];
    assert_eq!(events, expected);
    assert_eq!(stream.sync_mode(), Some(SyncMode::PerSection));
    check_tail(&tail);
}

#[test]
fn legacy_zero_pages_are_those_of_the_memory() {
    let (events, tail) = read_all(&mut incoming(&vector("none-legacy-zero-qemu-10.0"))).unwrap();
    let zero: Vec<u64> = events
        .iter()
        .filter_map(|event| match event {
            Event::ZeroPage { block: 0, offset } => Some(*offset),
            _ => None,
        })
        .collect();
    let ram = fs::read(vectors().join("ram.bin")).unwrap();
    let expected: Vec<u64> = (0..)
        .step_by(4096)
        .zip(ram.chunks_exact(4096))
        .filter(|(_, page)| page.iter().all(|byte| *byte == 0))
        .map(|(offset, _)| offset)
        .collect();
    assert_eq!(expected.len(), 172);
    assert_eq!(zero, expected);
    assert_eq!(events.len(), 9 + zero.len());
    check_tail(&tail);
}

#[test]
fn what_was_read_is_written_again() {
    for name in names() {
        let bytes = vector(&name);
        let mut stream = incoming(&bytes);
        let (events, tail) = read_all(&mut stream).unwrap();
        let (mut out, sent) = outgoing(stream.sync_mode().unwrap());
        write_all(&mut out, &events, &tail);
        out.flush().unwrap();
        assert_eq!(*sent.lock(), bytes, "{name}");
    }
}

#[test]
fn pieces_make_no_difference() {
    for name in names() {
        let bytes = vector(&name);
        let whole = read_all(&mut incoming(&bytes)).unwrap();
        for piece in [1, 2, 3, 7, 1000] {
            let mut stream = incoming_in_pieces(&bytes, piece, Then::Close);
            assert_eq!(read_all(&mut stream).unwrap(), whole, "{name}, {piece}");
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    for name in names() {
        let bytes = vector(&name);
        for len in 0..bytes.len() {
            match read_all(&mut incoming(&bytes[..len])) {
                Err(error) => assert!(error.at().offset <= u64::try_from(len).unwrap()),
                // Without a return path the end of the stream is the end of the tail, and a byte 0
                // may be its mark. What is missing then is the description.
                Ok((_, tail)) => {
                    assert_eq!(tail.bytes.last(), Some(&0), "{name}, {len}");
                    assert_eq!(tail.description, None, "{name}, {len}");
                }
            }
        }
    }
}

/// Every event, then the tail.
pub(super) fn read_all(stream: &mut Incoming) -> Result<(Vec<Event>, Tail), StreamError> {
    let mut events = Vec::new();
    loop {
        let event = stream.next_event()?;
        let last = event == Event::SectionEnd(RamPart::End);
        events.push(event);
        if last {
            return Ok((events, stream.read_tail()?));
        }
    }
}

/// Writes a stream from what was read of one.
pub(super) fn write_all(out: &mut Outgoing, events: &[Event], tail: &Tail) {
    let mut events = events.iter().peekable();
    while let Some(event) = events.next() {
        let mut section = match event {
            Event::Configuration(configuration) => {
                out.configuration(configuration).unwrap();
                continue;
            }
            Event::Command(command) => {
                out.command(*command).unwrap();
                continue;
            }
            Event::EarlyStart(_) | Event::EarlyData(_) | Event::EarlyEnd => {
                let place = EarlyPlace::default();
                let part = match event {
                    Event::EarlyStart(head) => EarlyPart::Start { head, place },
                    Event::EarlyData(data) => EarlyPart::Data(data),
                    _ => EarlyPart::End,
                };
                out.early_section(part).unwrap();
                continue;
            }
            Event::RamStart { blocks, .. } => {
                let mut section = out.ram_start(blocks.clone()).unwrap();
                assert_eq!(events.next(), Some(&Event::Sync));
                section.sync().unwrap();
                section
            }
            first => {
                // The part is known at its end only.
                let end =
                    std::iter::once(first)
                        .chain(events.clone())
                        .find_map(|event| match event {
                            Event::SectionEnd(part) => Some(*part),
                            _ => None,
                        });
                let mut section = match end {
                    Some(RamPart::End) => out.ram_end().unwrap(),
                    _ => out.ram_part().unwrap(),
                };
                if write_word(&mut section, first) {
                    section.finish().unwrap();
                    continue;
                }
                section
            }
        };
        for event in events.by_ref() {
            if write_word(&mut section, event) {
                break;
            }
        }
        section.finish().unwrap();
    }
    out.opaque_tail(&tail.bytes).unwrap();
}

/// Writes an event inside of a section; true if it is the section's end.
fn write_word(section: &mut crate::stream::RamSection<'_>, event: &Event) -> bool {
    match event {
        Event::Sync => section.sync().unwrap(),
        Event::ZeroPage { block, offset } => section.zero_page(*block, *offset).unwrap(),
        Event::SectionEnd(_) => return true,
        other => panic!("{other:?} inside of a section"),
    }
    false
}

fn check_tail(tail: &Tail) {
    let sections = tail.sections.as_ref().unwrap();
    let seen: Vec<_> = sections
        .iter()
        .map(|info| (info.id, info.idstr.as_str(), info.version, info.len))
        .collect();
    assert_eq!(seen, [(0, "timer", 2, 24), (3, "globalstate", 1, 104)]);
    assert!(
        tail.data(&sections[1])
            .starts_with(b"\0\0\0\x0aprelaunch\0")
    );
    let description = tail.description.clone().unwrap();
    assert_eq!(description.end, tail.bytes.len());
    assert_eq!(description.len(), 823);
}

fn configuration() -> Event {
    Event::Configuration(Configuration {
        machine: "none".to_owned(),
        ..Configuration::default()
    })
}

fn ram_start() -> Event {
    Event::RamStart {
        section_id: RAM_SECTION_ID,
        blocks: vec![AnnouncedBlock {
            name: BlockName::new("ram").unwrap(),
            used_length: 4 << 20,
        }],
    }
}

/// The folders of all recordings.
pub(super) fn names() -> Vec<String> {
    let names: Vec<_> = fs::read_dir(vectors())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert!(names.len() >= 7);
    names
}

/// The main stream of a recording.
pub(super) fn vector(name: &str) -> Vec<u8> {
    fs::read(vectors().join(name).join("main.bin")).unwrap()
}

pub(super) fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors")
}
