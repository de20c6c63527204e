// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The order in which a migration calls a dirty log, as `DirtyLog` promises it.

use std::thread::{self, ThreadId};

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;
use multifd_migration::dirty::{DirtyBitmap, WORDS_PER_CHUNK};
use multifd_migration::{DirtyLog, HostError};

/// A log that reports nothing, and panics when it is not called in the order that is promised.
#[derive(Debug)]
pub struct Order {
    blocks: usize,
    at: At,
    thread: Option<ThreadId>,
    paused: bool,
    /// How often everything was fetched, since it was made.
    pub fetches: usize,
}

/// What was called last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Stopped,
    /// The block of a round, and the first page of it that may be cleared.
    Round(usize, u64),
    /// How many blocks of a fetch were harvested.
    Fetch(usize),
}

impl Order {
    /// The log of a guest with this memory.
    pub fn new(memory: &GuestMemory) -> Self {
        Self {
            blocks: memory.blocks().len(),
            at: At::Stopped,
            thread: None,
            paused: false,
            fetches: 0,
        }
    }

    /// The guest was paused by the migration.
    pub fn pause(&mut self) {
        assert!(self.is_whole(), "{:?}, and the guest is paused", self.at);
        self.paused = true;
    }

    /// Whether the migration has paused the guest.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether writes are not noted any more.
    pub fn is_stopped(&self) -> bool {
        self.at == At::Stopped
    }

    /// Whether the last fetch, if there was one, was of all blocks.
    fn is_whole(&self) -> bool {
        self.at != At::Stopped && !matches!(self.at, At::Fetch(blocks) if blocks < self.blocks)
    }

    fn check_thread(&self) {
        assert_eq!(self.thread, Some(thread::current().id()), "another thread");
    }
}

impl DirtyLog for Order {
    fn start(&mut self) -> Result<(), HostError> {
        assert_eq!(self.at, At::Stopped, "it was started already");
        self.at = At::Round(0, 0);
        (self.thread, self.paused) = (Some(thread::current().id()), false);
        Ok(())
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        self.check_thread();
        assert!(self.is_whole(), "{:?}, and a fetch begins", self.at);
        self.at = At::Fetch(0);
        self.fetches += 1;
        Ok(())
    }

    fn harvest(&mut self, block: BlockIndex, _: &mut DirtyBitmap) -> Result<(), HostError> {
        self.check_thread();
        let position = block.position();
        assert_eq!(
            self.at,
            At::Fetch(position),
            "block {position} is harvested"
        );
        self.at = At::Fetch(position + 1);
        Ok(())
    }

    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        self.check_thread();
        assert!(
            self.is_whole() && !self.paused,
            "{:?}, and a clear",
            self.at
        );
        let wanted = match self.at {
            At::Round(block, page) => (block, page),
            _ => (0, 0),
        };
        let got = (block.position(), from);
        assert!(got >= wanted, "{got:?} is cleared behind {wanted:?}");
        assert!(from.is_multiple_of(CHUNK), "page {from} begins no chunk");
        let is_dirty = |page| dirty.contains(page);
        assert!(
            (from..from + CHUNK).any(is_dirty),
            "nothing is dirty at page {from}"
        );
        // Of two chunks the second one is not asked for.
        let cleared = from + 2 * CHUNK;
        self.at = At::Round(got.0, cleared);
        Ok(cleared)
    }

    fn stop(&mut self) {
        self.check_thread();
        assert_ne!(self.at, At::Stopped, "it was stopped already");
        self.at = At::Stopped;
    }
}

/// Pages of a chunk.
const CHUNK: u64 = WORDS_PER_CHUNK as u64 * 64;
