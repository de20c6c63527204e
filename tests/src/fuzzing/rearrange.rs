// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Changes of an input that leave lengths and ends in order.
//!
//! A fuzzer changes bytes, and after most changes nothing behind them is read. Here packets, sections and messages are
//! left as they are, but come elsewhere, twice, or not at all.

use multifd_core::PageSize;
use multifd_core::wire::INIT_PACKET_LEN;
use multifd_migration::stream::{Event, Incoming, Reader, ReturnMessage};

use super::packets::packets;
use super::parts::{self, BACK, ON_MAIN, Parts, SETUP};
use super::script::Script;
use crate::conformance::PageSource;

/// Changes an input of several connections; the same `seed` does the same again.
pub fn rearrange(input: &[u8], seed: u32) -> Vec<u8> {
    let parts = Parts::of(input);
    let setup = parts.setup.bytes();
    let mut pieces: Vec<Vec<(u8, Vec<u8>)>> = parts
        .pieces()
        .map(|(owner, bytes)| {
            units(owner, bytes)
                .into_iter()
                .map(|unit| (owner, unit))
                .collect()
        })
        .collect();
    let mut random = PageSource::new(seed.into());
    for _ in 0..=random.below(4) {
        change(&mut pieces, &mut random);
    }
    let pieces: Vec<(u8, Vec<u8>)> = pieces
        .iter()
        .filter_map(|units| {
            let (owner, _) = units.first()?;
            let bytes = units.iter().flat_map(|(_, bytes)| bytes);
            Some((*owner, bytes.copied().collect()))
        })
        .collect();
    let pieces = pieces
        .iter()
        .map(|(owner, bytes)| (*owner, bytes.as_slice()));
    parts::join(std::iter::once((SETUP, &setup[..])).chain(pieces))
}

/// Changes an input in place, of `size` bytes now and of `max_size` at most: its bytes, with `by_bytes`, as a fuzzer does
/// by itself, or the order of what is in it. Answers its length then.
pub fn mutate(
    bytes: &mut [u8],
    (size, max_size): (usize, usize),
    seed: u32,
    by_bytes: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    if seed.is_multiple_of(2) {
        return by_bytes(bytes, size, max_size);
    }
    let changed = rearrange(bytes.get(..size).unwrap_or_default(), seed / 2);
    let len = changed.len().min(max_size);
    for (to, from) in bytes.iter_mut().zip(changed.iter().take(len)) {
        *to = *from;
    }
    len
}

/// What leaves the rest of the connection readable when it comes elsewhere.
type Unit = (u8, Vec<u8>);

/// Takes one of all units, and moves it, repeats it, removes it, or ends the piece behind it.
fn change(pieces: &mut Vec<Vec<Unit>>, random: &mut PageSource) {
    let from = random.below(pieces.len().max(1));
    let Some(units) = pieces.get_mut(from).filter(|units| !units.is_empty()) else {
        return;
    };
    let at = random.below(units.len());
    match random.below(4) {
        0 => {
            units.remove(at);
        }
        1 => {
            if let Some(unit) = units.get(at).cloned() {
                units.insert(at, unit);
            }
        }
        2 => {
            let rest = units.split_off(at);
            pieces.insert(from + 1, rest);
        }
        _ => {
            let unit = units.remove(at);
            let to = random.below(pieces.len());
            if let Some(units) = pieces.get_mut(to) {
                units.insert(random.below(units.len() + 1), unit);
            }
        }
    }
}

/// Takes a piece of a connection apart.
fn units(owner: u8, bytes: &[u8]) -> Vec<Vec<u8>> {
    let ends = match owner {
        ON_MAIN => sections(bytes),
        BACK => messages(bytes),
        _ => {
            let mut end = INIT_PACKET_LEN;
            let packets = packets(bytes).map(|(packet, _)| {
                end += packet.len;
                end
            });
            std::iter::once(INIT_PACKET_LEN)
                .chain(packets.collect::<Vec<_>>())
                .collect()
        }
    };
    let (mut units, mut rest) = (Vec::new(), bytes);
    let mut start = 0;
    for end in ends {
        let Some((unit, after)) = rest.split_at_checked(end - start) else {
            break;
        };
        units.push(unit.to_vec());
        (rest, start) = (after, end);
    }
    units.push(rest.to_vec());
    units.retain(|unit| !unit.is_empty());
    units
}

/// Where the head, the commands and the sections of a main stream end.
fn sections(bytes: &[u8]) -> Vec<usize> {
    let reader = Reader::new(Box::new(Script::new(bytes)), &[]);
    let mut stream = Incoming::new(reader, PageSize::X86);
    let mut ends = Vec::new();
    while let Ok(event) = stream.next_event() {
        if matches!(
            event,
            Event::Configuration(_) | Event::Command(_) | Event::SectionEnd(_)
        ) {
            ends.extend(usize::try_from(stream.reader_mut().offset()));
        }
    }
    ends
}

fn messages(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut rest) = (Vec::new(), bytes);
    while let Ok(Some((_, len))) = ReturnMessage::decode(rest) {
        rest = rest.get(len..).unwrap_or_default();
        ends.push(bytes.len() - rest.len());
    }
    ends
}
