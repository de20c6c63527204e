// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whatever comes, there is an answer, and memory grows with what came.

use proptest::prelude::*;

use super::recorded::{names, read_all, vector};
use super::wire::{Then, incoming_in_pieces};
use crate::stream::{ReturnMessage, StreamError};

const Q35: &[u8] = include_bytes!("machines/q35-qemu-10.0.bin");

/// A change to a stream. Places are taken modulo its length.
#[derive(Clone, Debug)]
enum Change {
    Set(usize, u8),
    SetLength(usize, u32),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
    Cut(usize),
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), piece in 1_usize..100) {
        take(&bytes, piece);
        let _ = ReturnMessage::decode(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_head(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0_u8..9], 0..2000),
        piece in 1_usize..100,
        keep in 0x11_usize..0x100,
    ) {
        let head = &vector("none-qemu-10.0")[..keep];
        take(&[head, &bytes].concat(), piece);
    }

    #[test]
    fn changed_recordings(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..6),
        piece in prop_oneof![1_usize..100, Just(usize::MAX)],
    ) {
        let mut bytes = vector(&names()[which.index(names().len())]);
        for change in changes {
            apply(change, &mut bytes);
        }
        take(&bytes, piece);
    }

    #[test]
    fn a_changed_machine(
        changes in prop::collection::vec(change(), 1..6),
        piece in prop_oneof![100_usize..5000, Just(usize::MAX)],
    ) {
        let mut bytes = Q35.to_vec();
        for change in changes {
            apply(change, &mut bytes);
        }
        take(&bytes, piece);
    }
}

/// Reads a stream, whatever it is.
fn take(bytes: &[u8], piece: usize) {
    for then in [Then::Close, Then::Silence] {
        let mut stream = incoming_in_pieces(bytes, piece, then);
        match read_all(&mut stream) {
            Ok((events, tail)) => {
                assert!(events.len() <= bytes.len());
                assert!(bytes.ends_with(&tail.bytes));
                assert!(tail.bytes.capacity() <= 2 * bytes.len() + (64 << 10));
                let sections = tail.sections.unwrap_or_default();
                let covered: usize = sections.iter().map(|section| section.len).sum();
                assert!(covered <= tail.bytes.len());
            }
            Err(StreamError::Caller { problem, .. }) => panic!("{problem}"),
            Err(error) => {
                assert!(error.at().offset <= u64::try_from(bytes.len()).unwrap());
                assert!(error.to_string().len() < 2000);
            }
        }
        // Every block takes at least a length byte and its length.
        assert!(stream.blocks().len() * 9 <= bytes.len());
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = || any::<usize>();
    // Where the head and the RAM sections are, mistakes matter most.
    let early = || prop_oneof![place(), 0_usize..0x140];
    prop_oneof![
        (early(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (
            early(),
            prop_oneof![Just(u32::MAX), Just(0x7fff_ffff), any::<u32>()]
        )
            .prop_map(|(at, len)| Change::SetLength(at, len)),
        (early(), 1_usize..50).prop_map(|(at, len)| Change::Remove(at, len)),
        (early(), prop::collection::vec(any::<u8>(), 1..20))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (early(), 1_usize..100).prop_map(|(at, len)| Change::Repeat(at, len)),
        place().prop_map(Change::Cut),
    ]
}

fn apply(change: Change, bytes: &mut Vec<u8>) {
    let Some(last) = bytes.len().checked_sub(1) else {
        return;
    };
    let place = |at: usize| at % (last + 1);
    let range = |at: usize, len: usize| place(at)..(place(at) + len).min(last + 1);
    match change {
        Change::Set(at, byte) => bytes[place(at)] = byte,
        Change::SetLength(at, len) => {
            bytes.splice(range(at, 4), len.to_be_bytes());
        }
        Change::Remove(at, len) => {
            bytes.drain(range(at, len));
        }
        Change::Insert(at, inserted) => {
            let at = place(at);
            bytes.splice(at..at, inserted);
        }
        Change::Repeat(at, len) => {
            let range = range(at, len);
            let copy = bytes[range.clone()].to_vec();
            bytes.splice(range.start..range.start, copy);
        }
        Change::Cut(at) => bytes.truncate(place(at)),
    }
}
