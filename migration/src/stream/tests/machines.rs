//! Whole machines: the end of their device state is found with and without a return path.

use super::recorded::{read_all, write_all};
use super::wire::{Then, incoming, incoming_in_pieces, outgoing};
use crate::stream::{Command, Event, SyncMode};

const PC: &[u8] = include_bytes!("machines/pc-qemu-10.0.bin");
const Q35: &[u8] = include_bytes!("machines/q35-qemu-10.0.bin");

#[test]
fn the_end_is_found_while_the_connection_stays_open() {
    for (bytes, machine, sections) in [(PC, "pc-i440fx-10.0", 30), (Q35, "pc-q35-10.0", 29)] {
        for piece in [usize::MAX, 4096, 1] {
            let mut stream = incoming_in_pieces(bytes, piece, Then::Silence);
            let (events, tail) = read_all(&mut stream).unwrap();
            let Event::Configuration(configuration) = &events[0] else {
                panic!("{:?}", events[0]);
            };
            assert_eq!(configuration.machine, machine);
            assert_eq!(events[1], Event::Command(Command::OpenReturnPath));
            assert_eq!(events[2], Event::Command(Command::Ping(1)));
            assert_eq!(stream.blocks().len(), 6);
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
    for bytes in [PC, Q35] {
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
    for bytes in [PC, Q35] {
        for len in (0..bytes.len()).step_by(997).chain([bytes.len() - 1]) {
            read_all(&mut incoming(&bytes[..len])).unwrap_err();
        }
    }
}
