// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that arrives.

use std::sync::Arc;

use anyhow::{Context, Result};
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::stream::{AnnouncedBlock, Configuration, EarlyPart, Tail};
use multifd_migration::{DestinationHost, HostError};

use super::early::Taken;

/// A destination that takes everything of a small guest, and notes how often it was asked for what.
#[derive(Default)]
pub(super) struct Taker {
    pub(super) memory: Option<GuestMemory>,
    /// What came before the end of memory.
    pub(super) early: Taken,
    pub(super) completed: usize,
    /// The devices, byte for byte.
    pub(super) tail: Option<Vec<u8>>,
}

impl DestinationHost for Taker {
    fn memory(
        &mut self,
        _configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        assert!(self.memory.is_none(), "memory is asked for twice");
        let blocks = blocks
            .iter()
            .map(|block| (block.name.as_str(), block.used_length / PAGE as u64));
        let blocks: Vec<_> = blocks.collect();
        let pages = blocks
            .iter()
            .try_fold(0_u64, |sum, (_, pages)| sum.checked_add(*pages));
        if pages.is_none_or(|pages| pages > MOST_BYTES / PAGE as u64) {
            return Err("a guest that is too large".into());
        }
        let memory = memory(&blocks)?;
        self.memory = Some(memory.clone());
        Ok(memory)
    }

    fn early_section(&mut self, part: EarlyPart<'_>) -> Result<(), HostError> {
        self.early.take(part);
        Ok(())
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        assert!(self.memory.is_some(), "devices without memory");
        assert!(devices.bytes.len() < 1 << 24);
        self.completed += 1;
        self.tail = Some(devices.bytes.clone());
        Ok(())
    }
}

/// Memory of these blocks, with so many pages each.
pub(super) fn memory(blocks: &[(&str, u64)]) -> Result<GuestMemory> {
    let blocks = blocks.iter().map(|(name, pages)| -> Result<RamBlock> {
        let name = BlockName::new(name).context("name")?;
        let len = usize::try_from(*pages)? * PAGE;
        Ok(RamBlock::new(name, Arc::new(Mapping::anonymous(len)?))?)
    });
    let blocks = blocks.collect::<Result<_>>()?;
    Ok(GuestMemory::new(PageSize::X86, blocks)?)
}

pub(super) const PAGE: usize = 4096;
/// Bytes of the largest guest that is taken.
pub(super) const MOST_BYTES: u64 = 8 << 20;
