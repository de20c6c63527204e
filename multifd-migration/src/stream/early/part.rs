// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sections as they are given on, piece by piece.

use super::head::SectionHead;

/// A section before the end of RAM that is not RAM's, piece by piece: one [`Start`](Self::Start), any
/// number of [`Data`](Self::Data), one [`End`](Self::End).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyPart<'a> {
    /// It begins.
    Start {
        /// Which section it is.
        head: &'a SectionHead,
        /// Where it stands.
        place: EarlyPlace,
    },
    /// Some of its data.
    Data(&'a [u8]),
    /// It has ended.
    End,
}

/// Where a section stands, as seen from RAM's. The order is that of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EarlyPlace {
    /// Before RAM's START section.
    #[default]
    BeforeRam,
    /// Behind RAM's START section, and before another one of RAM's: where a device sets up what it sends, and virtio-mem
    /// says what memory there is.
    BehindStart,
    /// Behind RAM's first PART section, and before its END section.
    BesideRam,
}

/// A section before the end of RAM that is not RAM's, all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlySection {
    /// Which it is.
    pub head: SectionHead,
    /// Its data, opaque bytes.
    pub data: Vec<u8>,
    /// Where it stands.
    pub place: EarlyPlace,
}

impl EarlyPlace {
    /// All places, in order.
    pub const ALL: [Self; 3] = [Self::BeforeRam, Self::BehindStart, Self::BesideRam];
}
