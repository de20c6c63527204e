// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whole machines: the end of their device state is found with and without a return path.

use super::recorded::{read_all, write_all};
use super::wire::{Then, incoming, incoming_in_pieces, outgoing};
use crate::stream::{Command, EarlyPlace, Event, RamPart, SectionKind, SyncMode};

const PC: &[u8] = include_bytes!("machines/pc-qemu-10.0.bin");
const Q35: &[u8] = include_bytes!("machines/q35-qemu-10.0.bin");
/// With virtio-mem and bitmaps.
const Q35_EARLY: &[u8] = include_bytes!("machines/q35-early-qemu-10.0.bin");
const S390: &[u8] = include_bytes!("machines/s390-qemu-10.0.bin");

#[test]
fn the_end_is_found_while_the_connection_stays_open() {
    for (bytes, machine, blocks, sections) in [
        (PC, "pc-i440fx-10.0", 6, 30),
        (Q35, "pc-q35-10.0", 6, 29),
        (Q35_EARLY, "pc-q35-10.0", 7, 30),
        (S390, "s390-ccw-virtio-10.0", 1, 13),
    ] {
        for piece in [usize::MAX, 4096, 1] {
            let mut stream = incoming_in_pieces(bytes, piece, Then::Silence);
            let (events, tail) = read_all(&mut stream).unwrap();
            let Event::Configuration(configuration) = &events[0] else {
                panic!("{:?}", events[0]);
            };
            assert_eq!(configuration.machine, machine);
            assert_eq!(events[1], Event::Command(Command::OpenReturnPath));
            assert_eq!(events[2], Event::Command(Command::Ping(1)));
            assert_eq!(stream.blocks().len(), blocks);
            assert_eq!(
                stream.reader_mut().offset(),
                u64::try_from(bytes.len()).unwrap()
            );

            let infos = tail.sections.as_ref().unwrap();
            assert_eq!(infos.len(), sections);
            assert_eq!(infos[0].idstr, "timer");
            assert_eq!(infos.last().unwrap().idstr, "globalstate");
            assert_eq!(tail.description.as_ref().unwrap().end, tail.bytes.len());
        }
    }
}

#[test]
fn the_streams_are_written_again() {
    for bytes in [PC, Q35, Q35_EARLY, S390] {
        let mut stream = incoming_in_pieces(bytes, usize::MAX, Then::Silence);
        let (events, tail) = read_all(&mut stream).unwrap();
        let (mut out, sent) = outgoing(SyncMode::PerRound);
        write_all(&mut out, &events, &tail);
        out.flush().unwrap();
        assert_eq!(*sent.lock(), bytes);
    }
}

#[test]
fn a_machine_that_is_cut_short_is_noticed() {
    for bytes in [PC, Q35, Q35_EARLY, S390] {
        for len in (0..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
            read_all(&mut incoming(&bytes[..len])).unwrap_err();
        }
    }
}

#[test]
fn sections_beside_memory_are_where_they_were() {
    use EarlyPlace::{BehindStart, BesideRam};
    use SectionKind::{Full, Part, Start};
    let dirty = "dirty-bitmap";
    let (mem, attributes) = (
        "0000:00:01.0/virtio-mem-device-early",
        "s390-storage_attributes",
    );
    for (bytes, first, last) in [
        (
            Q35_EARLY,
            vec![
                (Start, dirty, 30, BehindStart),
                (Full, mem, 44, BehindStart),
            ],
            (Part, dirty, 1, BesideRam),
        ),
        (
            S390,
            vec![(Start, attributes, 8, BehindStart)],
            (Part, attributes, 8, BesideRam),
        ),
    ] {
        let mut stream = incoming(bytes);
        let mut sections = Vec::new();
        loop {
            match stream.next_event().unwrap() {
                Event::EarlyStart(head) => {
                    sections.push((head.kind, head.idstr, 0, stream.early_place()));
                }
                Event::EarlyData(data) => sections.last_mut().unwrap().2 += data.len(),
                Event::SectionEnd(RamPart::End) => break,
                _ => {}
            }
        }
        let sections: Vec<_> = sections
            .iter()
            .map(|(kind, name, len, place)| (*kind, name.as_str(), *len, *place))
            .collect();
        assert_eq!(sections[..first.len()], first);
        assert!(
            sections[first.len()..]
                .iter()
                .all(|section| *section == last)
        );
        assert!(sections.len() > first.len());
    }
}
