// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination reads on the main stream before the end of RAM.

use super::{AnnouncedBlock, Command, Configuration, RamPart, SectionHead};

/// What a source says on the main stream before the end of RAM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The first event: what machine this is.
    Configuration(Configuration),
    /// A command. Allowed between sections only.
    Command(Command),
    /// The RAM START section has begun. Comes once, before any other event of RAM.
    RamStart {
        /// The id that the source has given to RAM's sections.
        section_id: u32,
        /// The blocks that will come, each name once. A block's index in this list names it in
        /// [`ZeroPage`](Self::ZeroPage).
        blocks: Vec<AnnouncedBlock>,
    },
    /// A page is all zero. Inside of a RAM section; with `zero-page-detection=legacy` only.
    ZeroPage {
        /// Index of the block in the list of [`RamStart`](Self::RamStart).
        block: usize,
        /// The page's offset in bytes: aligned, and the page is inside of the block.
        offset: u64,
    },
    /// Wait until every channel has come to its next SYNC, then let them all go on. Inside of a RAM
    /// section, whatever the [`SyncMode`](super::SyncMode).
    Sync,
    /// A RAM section has ended.
    SectionEnd(RamPart),
    /// A section that is not RAM's has begun.
    EarlyStart(SectionHead),
    /// Data of that section, a piece of up to 64 KiB, or nothing: then it is not known yet what comes next.
    EarlyData(Vec<u8>),
    /// That section has ended.
    EarlyEnd,
}
