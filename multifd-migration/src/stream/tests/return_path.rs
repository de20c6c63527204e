// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Messages of the return path.

use std::io;

use multifd_core::{Fault, PageSize};

use super::recorded::vector;
use super::wire::{Then, Wire};
use crate::stream::{Command, Event, Incoming, Reader, ReturnMessage, ReturnReader, StreamError};

const ALL: [ReturnMessage; 4] = [
    ReturnMessage::Pong(1),
    ReturnMessage::SwitchoverAck,
    ReturnMessage::Pong(u32::MAX),
    ReturnMessage::Shut(0),
];

#[test]
fn the_layout() {
    assert_eq!(ReturnMessage::Shut(0).encode(), [0, 1, 0, 4, 0, 0, 0, 0]);
    assert_eq!(ReturnMessage::Pong(258).encode(), [0, 2, 0, 4, 0, 0, 1, 2]);
    assert_eq!(ReturnMessage::SwitchoverAck.encode(), [0, 7, 0, 0]);
}

#[test]
fn messages_come_back_in_any_pieces() {
    let bytes = ALL.map(ReturnMessage::encode).concat();
    for piece in 1..=bytes.len() {
        let mut reader = reader(Wire::new(&bytes, piece, Then::Close));
        for message in ALL {
            assert_eq!(reader.next_message().unwrap(), Some(message));
        }
        assert_eq!(reader.next_message().unwrap(), None);
    }
}

#[test]
fn a_time_limit_loses_nothing() {
    let bytes = ALL.map(ReturnMessage::encode).concat();
    for pause in 0..bytes.len() {
        let mut reader = reader(Wire::new(&bytes, 5, Then::Close).pause_at(pause));
        let (mut messages, mut pauses) = (Vec::new(), 0);
        loop {
            match reader.next_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(StreamError::Receive { error, .. }) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    pauses += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!((messages.as_slice(), pauses), (&ALL[..], 1));
    }
}

#[test]
fn messages_that_are_refused() {
    for (bytes, text) in [
        (
            &[0, 9, 0, 0][..],
            "return path, byte 0x8: return path message 9 is not supported",
        ),
        (
            &[0, 4, 0, 12],
            "return path, byte 0x8: return path message REQ_PAGES is not supported",
        ),
        (
            &[0, 1, 0, 5],
            "return path, byte 0x8: a message's length is 0x5, wanted 4 for SHUT",
        ),
        (
            &[0, 7, 0xff, 0xff],
            "return path, byte 0x8: a message's length is 0xffff, wanted 0 for SWITCHOVER_ACK",
        ),
    ] {
        let all = [&ReturnMessage::Pong(3).encode(), bytes].concat();
        let mut reader = reader(Wire::new(&all, 3, Then::Close));
        assert_eq!(reader.next_message().unwrap(), Some(ReturnMessage::Pong(3)));
        let error = reader.next_message().unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.fault(), Fault::Peer);
    }
}

#[test]
fn a_message_that_is_cut_short() {
    let bytes = ReturnMessage::Shut(0).encode();
    for (len, want) in [(1, 4), (3, 4), (4, 8), (7, 8)] {
        let mut reader = reader(Wire::new(&bytes[..len], 1, Then::Close));
        let error = reader.next_message().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "return path, byte 0x0: the stream ended in a message: got {len} bytes of {want}"
            )
        );
        assert_eq!(error.fault(), Fault::Connection);
    }
}

#[test]
fn a_destination_replies_between_events() {
    let mut stream = vector("none-qemu-10.0");
    // Behind the configuration.
    stream.splice(0x11..0x11, *b"\x08\0\x01\0\0\x08\0\x02\0\x04\0\0\0\x07");
    let wire = Wire::new(&stream[4..], usize::MAX, Then::Silence);
    let sent = wire.sent();
    // Whoever accepted the connection has read the magic.
    let reader = Reader::new(Box::new(wire), &stream[..4]);
    let mut stream = Incoming::new(reader, PageSize::X86);

    stream.next_event().unwrap();
    let early = stream.reply(ReturnMessage::Shut(1)).unwrap_err();
    assert_eq!(early.fault(), Fault::Caller);
    assert!(!stream.has_return_path());
    let opened = stream.next_event().unwrap();
    assert_eq!(opened, Event::Command(Command::OpenReturnPath));
    assert!(stream.has_return_path());
    let ping = stream.next_event().unwrap();
    assert_eq!(ping, Event::Command(Command::Ping(7)));
    stream.reply(ReturnMessage::Pong(7)).unwrap();
    assert!(matches!(stream.next_event(), Ok(Event::RamStart { .. })));
    stream.reply(ReturnMessage::Shut(0)).unwrap();
    assert_eq!(*sent.lock(), *b"\0\x02\0\x04\0\0\0\x07\0\x01\0\x04\0\0\0\0");
}

fn reader(wire: Wire) -> ReturnReader {
    ReturnReader::new(Box::new(wire))
}
