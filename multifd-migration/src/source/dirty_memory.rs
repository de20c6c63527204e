// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is dirty, and what was dirty when the log was fetched last.

use std::time::Instant;

use multifd_core::memory::BlockIndex;
use multifd_core::{Error, GuestMemory};

use super::SourceHost;
use crate::dirty::DirtyBitmap;
use crate::host_error::refused;

/// The dirty pages of all blocks.
#[derive(Clone, Debug)]
pub(super) struct DirtyMemory {
    blocks: Vec<DirtyBitmap>,
}

impl DirtyMemory {
    /// All of `memory` is dirty.
    pub(super) fn all(memory: &GuestMemory) -> Self {
        let page_size = memory.page_size().bytes_u64();
        let blocks = memory.blocks().iter();
        Self {
            blocks: blocks
                .map(|block| DirtyBitmap::dirty(block.len() / page_size))
                .collect(),
        }
    }

    /// Dirty pages of all blocks.
    pub(super) fn pages(&self) -> u64 {
        self.blocks.iter().map(DirtyBitmap::dirty_pages).sum()
    }

    /// The dirty pages of each block, in the order of the blocks.
    pub(super) fn blocks_mut(&mut self) -> &mut [DirtyBitmap] {
        &mut self.blocks
    }

    /// Adds what was written to since the last time.
    pub(super) fn harvest(
        &mut self,
        memory: &GuestMemory,
        host: &mut dyn SourceHost,
    ) -> Result<(), Error> {
        host.dirty_log().fetch().map_err(refused)?;
        for ((index, _), dirty) in memory.indexed().zip(&mut self.blocks) {
            let log = host.dirty_log();
            log.harvest(index, dirty).map_err(refused)?;
        }
        Ok(())
    }

    /// The first page that is dirty here and not in `other`.
    pub(super) fn first_beside(
        &self,
        memory: &GuestMemory,
        other: &Self,
    ) -> Option<(BlockIndex, u64)> {
        let pairs = self.blocks.iter().zip(&other.blocks);
        memory
            .indexed()
            .zip(pairs)
            .find_map(|((index, _), (dirty, other))| {
                let (mut dirty, mut from) = (dirty.clone(), 0);
                std::iter::from_fn(|| dirty.take_chunk(&mut from)).find_map(|chunk| {
                    let pages = chunk
                        .runs()
                        .flat_map(|run| run.first_page..run.first_page + run.pages);
                    let mut beside = pages.filter(|page| !other.contains(*page));
                    beside.next().map(|page| (index, page))
                })
            })
    }
}

/// What a fetch of the dirty log is measured against.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastFetch {
    pub(super) at: Instant,
    pub(super) normal_bytes: u64,
    pub(super) guest_bytes: u64,
    pub(super) wire_bytes: u64,
}

impl LastFetch {
    /// Nothing has been sent yet.
    pub(super) fn none(at: Instant) -> Self {
        Self {
            at,
            normal_bytes: 0,
            guest_bytes: 0,
            wire_bytes: 0,
        }
    }
}

/// What a fetch found, in bytes of guest memory since the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) dirtied: u64,
    pub(super) sent: u64,
}

impl Fetched {
    /// Adds what the fetch after this one found.
    pub(super) fn add(&mut self, next: Self) {
        self.dirtied += next.dirtied;
        self.sent += next.sent;
    }
}
