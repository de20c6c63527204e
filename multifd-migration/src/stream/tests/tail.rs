// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The end of the device state, and what is found there.

use std::io;

use multifd_core::{Fault, PageSize};
use proptest::prelude::*;

use super::recorded::read_all;
use super::wire::{Then, Wire, incoming_in_pieces, outgoing};
use crate::stream::tail::{self, MAX_TAIL_LEN};
use crate::stream::{
    DeviceSection, EMPTY_TAIL, Outgoing, Problem, Reader, SectionInfo, StreamError, SyncMode, Tail,
    Writer,
};

/// A description that is whole and right, but for a tail without sections.
const OTHER: &[u8] = b"\0\x06\0\0\0\x0e{\"devices\":[]}";

proptest! {
    #[test]
    fn false_ends_in_device_data(
        sections in prop::collection::vec(section(), 0..5),
        piece in prop_oneof![Just(1_usize), 1_usize..200, Just(usize::MAX)],
    ) {
        let bytes = write(|out| out.tail(&sections));
        let open = read(&bytes, piece, true, Then::Silence).unwrap();
        check(&open, &bytes, &sections);
        let closed = read(&bytes, piece, false, Then::Close).unwrap();
        prop_assert_eq!(open, closed);
    }
}

#[test]
fn an_empty_description() {
    assert_eq!(write(|out| out.opaque_tail(&EMPTY_TAIL)), EMPTY_TAIL);
    for piece in [1, 6] {
        for (return_path, then) in [(true, Then::Silence), (false, Then::Close)] {
            let tail = read(&EMPTY_TAIL, piece, return_path, then).unwrap();
            check(&tail, &EMPTY_TAIL, &[]);
        }
    }
}

#[test]
fn an_empty_description_behind_sections_needs_the_end_of_the_stream() {
    let bytes = [&one_section()[..], &EMPTY_TAIL].concat();
    let tail = read(&bytes, 7, false, Then::Close).unwrap();
    assert_eq!(tail.description, Some(bytes.len()..bytes.len()));
    assert_eq!(tail.sections, None);
    let error = read(&bytes, 7, true, Then::Silence).unwrap_err();
    assert_eq!(error.fault(), Fault::Connection);
}

#[test]
fn a_stream_without_a_description() {
    for (sections, found) in [(Vec::new(), Some(Vec::new())), (one_section(), None)] {
        let bytes = [&sections[..], &[0]].concat();
        let tail = read(&bytes, 7, false, Then::Close).unwrap();
        assert_eq!((tail.description, tail.sections), (None, found));
    }
    let error = read(b"", 7, false, Then::Close).unwrap_err();
    assert!(matches!(error, StreamError::Ended { .. }));
    let error = read(&one_section()[..20], 7, false, Then::Close).unwrap_err();
    assert_eq!(
        error.to_string(),
        "main stream, byte 0x0: the device state does not end as it should: \
         the stream ends without an end mark (0x00) or a VM description"
    );
}

#[test]
fn a_description_that_does_not_fit() {
    let bytes = write(|out| out.tail(&[device("one", b"data"), device("two", b"more")]));
    for (old, new, why) in [
        (
            "\"size\":4,\"type\":\"buffer\"}]",
            "\"size\":5,\"type\":\"buffer\"}]",
            "section 0 at byte 0x0 of the device state, \"one\": \
             no footer of section 0x2 behind its 5 bytes",
        ),
        (
            "\"size\":4,\"type\":\"buffer\"}]",
            "\"size\":9,\"type\":\"buffer\"}]",
            "section 0 at byte 0x0 of the device state, \"one\": \
             no footer of section 0x2 behind its 9 bytes",
        ),
        (
            "\"name\":\"two\"",
            "\"name\":\"TWO\"",
            "section 1 at byte 0x1a of the device state, \"TWO\": its name is \"two\"",
        ),
        (
            "\"instance_id\":0",
            "\"instance_id\":7",
            "section 0 at byte 0x0 of the device state, \"one\": its instance is 0, wanted 7",
        ),
    ] {
        let mut bytes = bytes.clone();
        let mut windows = bytes.windows(old.len());
        let at = windows.position(|window| window == old.as_bytes()).unwrap();
        bytes.splice(at..at + old.len(), new.bytes());
        let error = read(&bytes, 9, true, Then::Silence).unwrap_err();
        assert_eq!(error.fault(), Fault::Peer);
        let message = error.to_string();
        assert!(
            message.ends_with(&format!("does not fit: {why}")),
            "{message}"
        );
        // Where the stream ends with it, it is the end all the same.
        let tail = read(&bytes, 9, false, Then::Close).unwrap();
        assert_eq!(tail.description.unwrap().end, bytes.len());
        assert_eq!(tail.sections, None);
    }
}

#[test]
fn a_footer_of_another_section() {
    let mut bytes = write(|out| out.tail(&[device("one", b"data")]));
    let footer = bytes
        .windows(5)
        .position(|window| window == b"\x7e\0\0\0\x02");
    bytes[footer.unwrap() + 4] = 3;
    let error = read(&bytes, 9, true, Then::Silence)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("no footer of section 0x2 behind its 4 bytes"),
        "{error}"
    );
}

#[test]
fn a_connection_that_is_lost_in_device_state() {
    let bytes = write(|out| out.tail(&[device("one", OTHER), device("two", b"more")]));
    for len in 0..bytes.len() {
        let error = read(&bytes[..len], 5, true, Then::Close).unwrap_err();
        // Just behind the false end it looks as if the source had sent no more than that.
        if !bytes[..len].ends_with(OTHER) {
            assert_eq!(error.fault(), Fault::Connection, "{error}");
        }
        let error = read(&bytes[..len], 5, true, Then::Silence).unwrap_err();
        if !bytes[..len].ends_with(OTHER) {
            let StreamError::Receive { error, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("suppress-vmdesc"), "{error}");
        }
    }
}

#[test]
fn more_behind_the_description() {
    let whole = write(|out| out.tail(&[device("one", b"data")]));
    let bytes = [&whole[..], b"more"].concat();
    read(&bytes, usize::MAX, true, Then::Silence).unwrap_err();
    for piece in [1, whole.len(), usize::MAX] {
        read(&bytes, piece, false, Then::Close).unwrap_err();
    }
}

#[test]
fn a_tail_has_a_limit() {
    let bytes = write(|out| out.tail(&[device("one", &[7; 10_000])]));
    let wire = Wire::new(&bytes, 1000, Then::Silence);
    let mut reader = Reader::new(Box::new(wire), &[]);
    let error = tail::read(&mut reader, true, (0, 4000), &mut || false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "main stream, byte 0x0: the length of the device state is 5000, wanted at most 4000"
    );
    // A limit that is just enough.
    let mut reader = Reader::new(Box::new(Wire::new(&bytes, 1000, Then::Silence)), &[]);
    tail::read(&mut reader, true, (0, bytes.len()), &mut || false).unwrap();
}

#[test]
fn megabytes_of_false_ends() {
    // Each says that its text has 64 KiB; and a last one that would have nearly all memory.
    let mut data = b"\0\x06\0\x01\0\0{\"devices\":[".repeat(200_000);
    data.extend(b"\0\x06\x07\xff\xff\xff{");
    data.extend(vec![0; 1 << 20]);
    let sections = [device("one", &data), device("two", &data)];
    let bytes = write(|out| out.tail(&sections));
    let tail = read(&bytes, usize::MAX, true, Then::Silence).unwrap();
    check(&tail, &bytes, &sections);
    assert!(tail.bytes.capacity() <= 2 * bytes.len() + (64 << 10));
}

#[test]
fn sections_that_cannot_be_written() {
    for name in ["", &"x".repeat(256)] {
        let (mut out, _) = outgoing(SyncMode::PerRound);
        let error = out.tail(&[device(name, b"")]).unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert!(matches!(
            error.problem(),
            Some(Problem::Name { .. } | Problem::TooMany { .. })
        ));
    }
}

/// A device whose state is full of what looks like an end.
fn section() -> impl Strategy<Value = DeviceSection> {
    let fragment = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(OTHER.to_vec()),
        Just(EMPTY_TAIL.to_vec()),
        Just(b"\0\x06\0\0\0\x40{\"devices\": [{\"name\": \"".to_vec()),
        Just(b"\0\x06\0\x06\0\x06\0\0{\"".to_vec()),
        Just(b"\x7e\0\0\0\x02".to_vec()),
        Just(write(|out| out.tail(&[device("a", b"inner")]))),
        (1_usize..20).prop_map(|count| vec![0; count]),
    ];
    (
        "[a-z\"\\\\/:é]{1,20}",
        any::<u32>(),
        any::<u32>(),
        prop::collection::vec(fragment, 0..8),
    )
        .prop_map(|(name, instance, version, fragments)| DeviceSection {
            name,
            instance,
            version,
            data: fragments.concat(),
        })
}

fn check(tail: &Tail, bytes: &[u8], sections: &[DeviceSection]) {
    assert_eq!(tail.bytes, bytes);
    assert_eq!(tail.description.as_ref().unwrap().end, bytes.len());
    let infos = tail.sections.as_ref().unwrap();
    let found: Vec<_> = infos.iter().map(|info| restore(tail, info)).collect();
    assert_eq!(found, sections);
}

fn restore(tail: &Tail, info: &SectionInfo) -> DeviceSection {
    DeviceSection {
        name: info.idstr.clone(),
        instance: info.instance,
        version: info.version,
        data: tail.data(info).to_vec(),
    }
}

fn device(name: &str, data: &[u8]) -> DeviceSection {
    DeviceSection {
        name: name.to_owned(),
        data: data.to_vec(),
        ..DeviceSection::default()
    }
}

/// A section and nothing behind it.
fn one_section() -> Vec<u8> {
    b"\x04\0\0\0\x02\x03one\0\0\0\0\0\0\0\0data\x7e\0\0\0\x02".to_vec()
}

fn write(write: impl FnOnce(&mut Outgoing) -> Result<(), StreamError>) -> Vec<u8> {
    let wire = Wire::new(&[], usize::MAX, Then::Close);
    let sent = wire.sent();
    let mut out = Outgoing::new(
        Writer::new(Box::new(wire)),
        PageSize::X86,
        SyncMode::PerRound,
    );
    write(&mut out).unwrap();
    out.flush().unwrap();
    sent.lock().clone()
}

fn read(bytes: &[u8], piece: usize, return_path: bool, then: Then) -> Result<Tail, StreamError> {
    let mut reader = Reader::new(Box::new(Wire::new(bytes, piece, then)), &[]);
    tail::read(&mut reader, return_path, (0, MAX_TAIL_LEN), &mut || false)
}

#[test]
fn a_tail_is_read_from_its_bytes() {
    for bytes in [
        include_bytes!("machines/pc-qemu-10.0.bin").as_slice(),
        include_bytes!("machines/q35-qemu-10.0.bin"),
    ] {
        let mut stream = incoming_in_pieces(bytes, usize::MAX, Then::Silence);
        let (_, tail) = read_all(&mut stream).unwrap();
        assert_eq!(Tail::parse(tail.bytes.clone()).unwrap(), tail);
        for len in [1, tail.bytes.len() - 1] {
            let cut = tail.bytes[..len].to_vec();
            let parsed = Tail::parse(cut);
            assert!(parsed.is_err(), "{len}: {parsed:?}");
        }
    }
    assert!(Tail::parse(Vec::new()).is_err());
    let empty = Tail::parse(EMPTY_TAIL.to_vec()).unwrap();
    assert_eq!(empty.sections.as_deref(), Some(&[][..]));
}
