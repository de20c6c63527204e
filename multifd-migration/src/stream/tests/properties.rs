// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is written is read again.

use multifd_core::PageSize;
use multifd_core::wire::{BlockName, Uuid};
use proptest::prelude::*;

use super::recorded::{read_all, write_all};
use super::wire::{Then, Wire, incoming_in_pieces, outgoing};
use crate::stream::{
    AnnouncedBlock, Command, Configuration, Event, MAPPED_RAM, RAM_SECTION_ID, RamPart, Reader,
    SyncMode, Tail, Writer, X_IGNORE_SHARED,
};

proptest! {
    #[test]
    fn streams(
        (mode, events) in stream(),
        piece in prop_oneof![Just(1_usize), 1_usize..100, Just(usize::MAX)],
        start in 0_u64..300,
    ) {
        let (mut out, sent) = outgoing(mode);
        let tail = Tail {
            bytes: b"\0\x06\0\0\0\0".to_vec(),
            description: Some(6..6),
            sections: Some(Vec::new()),
        };
        write_all(&mut out, &events, &tail);
        out.flush().unwrap();
        let bytes = sent.lock().clone();
        prop_assert_eq!(out.writer_mut().offset(), u64::try_from(bytes.len()).unwrap());

        let mut stream = incoming_in_pieces(&bytes, piece, Then::Close);
        let read = read_all(&mut stream).unwrap();
        prop_assert_eq!(read, (events, tail));
        prop_assert_eq!(stream.sync_mode(), Some(mode));

        // What is read can be passed on as it is.
        let mut stream = incoming_in_pieces(&bytes, piece, Then::Close);
        stream.reader_mut().keep_copy(start);
        read_all(&mut stream).unwrap();
        let wire = Wire::new(&[], piece, Then::Close);
        let copied = wire.sent();
        let mut writer = Writer::new(Box::new(wire));
        stream.reader_mut().pass_on(&mut writer).unwrap();
        writer.flush().unwrap();
        let start = bytes.len().min(usize::try_from(start).unwrap());
        prop_assert_eq!(&*copied.lock(), &bytes[start..]);
    }

    #[test]
    fn configurations(
        machine in "[a-z0-9.-]{0,300}",
        page_bits in prop::option::of(any::<u32>()),
        capabilities in prop::sample::subsequence(vec![X_IGNORE_SHARED, MAPPED_RAM], 0..=2),
        uuid in prop::option::of(any::<[u8; 16]>()),
    ) {
        let configuration = Configuration {
            machine,
            page_bits,
            capabilities: capabilities.into_iter().map(str::to_owned).collect(),
            uuid: uuid.map(Uuid),
        };
        let wire = Wire::new(&[], usize::MAX, Then::Close);
        let sent = wire.sent();
        let mut writer = Writer::new(Box::new(wire));
        configuration.write(&mut writer).unwrap();
        // Its end is seen by what follows.
        writer.put(&[1]).unwrap();
        writer.flush().unwrap();
        let wire = Wire::new(&sent.lock(), 3, Then::Close);
        let mut reader = Reader::new(Box::new(wire), &[]);
        prop_assert_eq!(Configuration::read(&mut reader).unwrap(), configuration);
    }
}

/// A mode, and all events of a stream of that mode.
fn stream() -> impl Strategy<Value = (SyncMode, Vec<Event>)> {
    let blocks = prop::collection::btree_map("[a-z/@0-9]{1,255}", 1_u64..1000, 0..8);
    let mode = prop_oneof![Just(SyncMode::PerRound), Just(SyncMode::PerSection)];
    (mode, "[a-z0-9.-]{0,40}", blocks, any::<Option<u32>>()).prop_flat_map(
        |(mode, machine, blocks, ping)| {
            let blocks: Vec<_> = blocks
                .into_iter()
                .map(|(name, pages)| AnnouncedBlock {
                    name: BlockName::new(&name).unwrap(),
                    used_length: pages * PageSize::X86.bytes_u64(),
                })
                .collect();
            let sections = prop::collection::vec(section(mode, blocks.clone()), 1..6);
            sections
                .prop_map(move |sections| (mode, assemble(mode, &machine, &blocks, ping, sections)))
        },
    )
}

/// What is in a section, without its end.
fn section(mode: SyncMode, blocks: Vec<AnnouncedBlock>) -> impl Strategy<Value = Vec<Event>> {
    let zero_pages = prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..20);
    let syncs = match mode {
        SyncMode::PerRound => 0..3_usize,
        SyncMode::PerSection => 1..2,
    };
    (zero_pages, syncs).prop_map(move |(zero_pages, syncs)| {
        let mut events = Vec::new();
        for (index, page) in zero_pages {
            if blocks.is_empty() {
                continue;
            }
            let block = index.index(blocks.len());
            let page_size = PageSize::X86.bytes_u64();
            let offset = page % (blocks[block].used_length / page_size) * page_size;
            events.push(Event::ZeroPage { block, offset });
        }
        events.extend(std::iter::repeat_n(Event::Sync, syncs));
        events
    })
}

fn assemble(
    mode: SyncMode,
    machine: &str,
    blocks: &[AnnouncedBlock],
    ping: Option<u32>,
    sections: Vec<Vec<Event>>,
) -> Vec<Event> {
    let mut events = vec![Event::Configuration(Configuration {
        machine: machine.to_owned(),
        ..Configuration::default()
    })];
    let last = sections.len() - 1;
    events.push(Event::RamStart {
        section_id: RAM_SECTION_ID,
        blocks: blocks.to_vec(),
    });
    events.extend([Event::Sync, Event::SectionEnd(RamPart::Start)]);
    for (number, section) in sections.into_iter().enumerate() {
        if number == last && mode == SyncMode::PerRound {
            events.push(Event::Command(Command::SwitchoverStart));
        }
        events.extend(section);
        events.push(Event::SectionEnd(if number == last {
            RamPart::End
        } else {
            RamPart::Part
        }));
    }
    if let Some(value) = ping {
        events.splice(
            1..1,
            [
                Event::Command(Command::OpenReturnPath),
                Event::Command(Command::Ping(value)),
            ],
        );
    }
    events
}
