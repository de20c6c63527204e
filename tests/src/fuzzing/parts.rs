// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One input for several connections.
//!
//! A mark and a byte that says whose they are stand before the bytes of each connection. What a fuzzer inserts or
//! takes away changes one piece, and what it copies may be a piece with its mark.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use multifd_core::method::Accelerator;
use multifd_core::wire::{InitPacket, Uuid};
use multifd_core::{ChannelCount, MethodFactory, MethodOptions, MultifdMethods};

use super::channel::MAIN;
use super::script::Piece;

/// A piece of an input: whose it is, and its bytes.
pub(super) type Part<'a> = (u8, &'a [u8]);

/// What stands before whose bytes follow.
pub(super) const MARK: [u8; 3] = [0xf5, 0xe1, 0x7c];

/// The owner of the main connection's bytes; those above it are the channels'.
pub(super) const ON_MAIN: u8 = 0;
/// The owner of what the destination says.
pub(super) const BACK: u8 = 0xfe;
/// The owner of what is no connection's: how the target is set up.
pub(super) const SETUP: u8 = 0xff;

/// An input, taken apart.
pub(super) struct Parts<'a> {
    all: Vec<Part<'a>>,
    /// How the target is set up.
    pub(super) setup: Setup,
}

/// How a target is set up, each a number of which any value will do.
#[derive(Clone, Copy)]
pub(super) struct Setup {
    pub(super) channels: u8,
    pub(super) method: u8,
    pub(super) more: [u8; 2],
}

impl<'a> Parts<'a> {
    pub(super) fn of(input: &'a [u8]) -> Self {
        let all = split(input);
        let setup = all.iter().find(|(owner, _)| *owner == SETUP);
        let setup = setup.map(|(_, bytes)| *bytes).unwrap_or_default();
        Self {
            setup: Setup::read(setup),
            all,
        }
    }

    /// Each piece in its order, with the number that stands before it; but for the set-up.
    pub(super) fn numbered(&self) -> impl Iterator<Item = Part<'a>> {
        let pieces = self.all.iter().filter(|(owner, _)| *owner != SETUP);
        pieces.copied()
    }

    /// Each piece in its order, but for the set-up.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Part<'a>> {
        let places = self.setup.channels + 1;
        self.numbered().map(move |(owner, bytes)| match owner {
            BACK => (BACK, bytes),
            owner => (owner % places, bytes),
        })
    }

    /// All bytes of a connection.
    pub(super) fn bytes(&self, owner: u8) -> Vec<u8> {
        let pieces = self.pieces().filter(|(of, _)| *of == owner);
        pieces.flat_map(|(_, bytes)| bytes).copied().collect()
    }

    /// Each piece of a connection, to be read on its own.
    pub(super) fn script(&self, owner: u8) -> Vec<Piece<'a>> {
        let pieces = self.pieces().filter(|(of, _)| *of == owner);
        pieces.map(|(_, bytes)| (0, bytes)).collect()
    }

    /// All bytes of each channel.
    pub(super) fn channels(&self) -> Vec<Vec<u8>> {
        (1..=self.setup.channels)
            .map(|channel| self.bytes(channel))
            .collect()
    }
}

impl Setup {
    fn read(bytes: &[u8]) -> Self {
        let at = |index: usize| bytes.get(index).copied().unwrap_or_default();
        Self {
            channels: 1 + at(0) % MOST_CHANNELS,
            method: at(1),
            more: [at(2), at(3)],
        }
    }

    /// What [`Self::read`] reads.
    pub(super) fn bytes(self) -> [u8; 4] {
        let [one, two] = self.more;
        [self.channels.saturating_sub(1), self.method, one, two]
    }

    pub(super) fn count(self) -> ChannelCount {
        ChannelCount::new(self.channels).unwrap_or_default()
    }

    pub(super) fn open_method(self) -> Result<Arc<dyn MultifdMethods>> {
        open_method(self.method)
    }
}

/// A method, by the number of its place in this list. Decoders of this project's own, wherever the fuzzer runs.
pub(super) fn open_method(number: u8) -> Result<Arc<dyn MultifdMethods>> {
    let options = MethodOptions::new().with(Accelerator::OPTION, Accelerator::Software);
    let factory: &dyn MethodFactory = match number % METHODS {
        0 => &multifd_none::NoneFactory,
        1 => &multifd_zlib::ZlibFactory,
        2 => &multifd_zstd::ZstdFactory,
        3 => &multifd_qatzip::QatzipFactory,
        4 => &multifd_qpl::QplFactory,
        _ => &multifd_uadk::UadkFactory::default(),
    };
    Ok(factory.open(&options)?)
}

/// Whether the connections are what a receiver waits for: if not, it would wait in vain.
pub(super) fn is_complete(main: &[u8], channels: &[Vec<u8>], uuid: Option<Uuid>) -> bool {
    let packets: Option<Vec<InitPacket>> = channels
        .iter()
        .map(|bytes| InitPacket::decode(bytes.first_chunk()?).ok())
        .collect();
    let Some(packets) = packets else {
        return false;
    };
    let uuid = uuid.or(packets.first().map(|packet| packet.uuid));
    let numbers: BTreeSet<_> = packets.iter().map(|packet| packet.channel).collect();
    main.starts_with(&MAIN)
        && packets.iter().all(|packet| Some(packet.uuid) == uuid)
        && numbers
            .iter()
            .copied()
            .map(usize::from)
            .eq(0..channels.len())
}

/// Takes an input apart. What is before the first mark is of no part.
fn split(input: &[u8]) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let first = find(input).and_then(|at| input.get(at..));
    let mut rest = first.unwrap_or_default();
    while let Some((owner, bytes)) = rest.get(MARK.len()..).and_then(<[u8]>::split_first) {
        let (part, next) = bytes.split_at(find(bytes).unwrap_or(bytes.len()));
        parts.push((*owner, part));
        rest = next;
    }
    parts
}

/// The input of these parts.
pub(super) fn join<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> Vec<u8> {
    let mut input = Vec::new();
    for (owner, bytes) in parts {
        input.extend(MARK);
        input.push(owner);
        input.extend(bytes);
    }
    input
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|at| at == MARK)
}

const MOST_CHANNELS: u8 = 4;
const METHODS: u8 = 6;
