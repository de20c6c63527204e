// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest whose memory is mostly untouched, and a destination that is, too.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use migration_params::ZeroPageDetection;
use multifd_core::memory::{BlockIndex, Mapping, RamRegion as _};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_migration::dirty::{DirtyBitmap, PAGES_PER_CHUNK, SoftwareLog};
use multifd_migration::stream::DeviceSection;
use multifd_migration::{DirtyLog, HostError, Report, SourceConfig, SourceHost};
use multifd_tests::host;
use rustix::fs::{MemfdFlags, memfd_create};

pub(crate) const PAGE: u64 = PAGE_LEN as u64;
pub(crate) const PAGE_LEN: usize = 4096;
pub(crate) const CHANNELS: u8 = 2;

/// One block of memory, and what it takes.
pub(crate) struct Memory {
    pub(crate) block: RamBlock,
    address: u64,
    /// Unless it is private memory.
    file: Option<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Anonymous,
}

impl Memory {
    pub(crate) fn new(kind: Kind, pages: u64) -> Result<Self> {
        let len = pages * PAGE;
        let file = match kind {
            Kind::Shared => Some(memfd(len)?),
            Kind::Anonymous => None,
        };
        let mut mapping = match &file {
            Some(file) => Mapping::shared(file.as_fd(), usize::try_from(len)?)?,
            None => Mapping::anonymous(usize::try_from(len)?)?,
        };
        mapping.learn_untouched(file.as_ref().map(|file| file.as_fd()))?;
        let address = mapping.base().as_ptr().addr() as u64;
        let block = RamBlock::new(name()?, Arc::new(mapping))?;
        Ok(Self {
            block,
            address,
            file,
        })
    }

    pub(crate) fn guest(&self) -> Result<GuestMemory> {
        Ok(GuestMemory::new(PageSize::X86, vec![self.block.clone()])?)
    }

    /// Bytes that it takes.
    pub(crate) fn resident(&self) -> Result<u64> {
        if let Some(file) = &self.file {
            return Ok(file.metadata()?.blocks() * 512);
        }
        resident(self.address, self.address + self.block.len())
    }

    pub(crate) fn fill(&self, page: u64, byte: u8) -> Result<()> {
        let span = self.block.span(page * PAGE, PAGE_LEN);
        span.context("no such page")?.copy_from(&[byte; PAGE_LEN]);
        Ok(())
    }

    /// The byte that a page is filled with.
    pub(crate) fn byte(&self, page: u64) -> Result<u8> {
        let span = self.block.span(page * PAGE, PAGE_LEN);
        let mut bytes = [0; PAGE_LEN];
        span.context("no such page")?.copy_to(&mut bytes);
        let first = bytes[0];
        ensure!(bytes == [first; PAGE_LEN], "page {page} is torn");
        Ok(first)
    }
}

pub(crate) fn name() -> Result<BlockName> {
    BlockName::new("ram").context("a name")
}

fn memfd(len: u64) -> Result<File> {
    let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC)?);
    file.set_len(len)?;
    Ok(file)
}

/// Bytes of private memory that are in memory, the system's page of zeros included. What `smaps` says is of mappings,
/// which the system may merge with others.
fn resident(start: u64, end: u64) -> Result<u64> {
    let mut words = vec![0; usize::try_from((end - start) / PAGE)? * 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut words, start / PAGE * 8)?;
    let (words, _) = words.as_chunks();
    let present = words
        .iter()
        .filter(|word| u64::from_ne_bytes(**word) >> 63 != 0);
    Ok(present.count() as u64 * PAGE)
}

/// Is told of the first page of the chunk.
type OnClear<'a> = Box<dyn FnMut(&SoftwareLog, u64) + 'a>;

/// The guest's hypervisor: something is written when the log is told of a chunk that is about to be sent.
pub(crate) struct Host<'a> {
    log: SoftwareLog,
    pub(crate) on_clear: OnClear<'a>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(memory: &GuestMemory) -> Self {
        Self {
            log: SoftwareLog::new(memory),
            on_clear: Box::new(|_, _| ()),
        }
    }
}

impl SourceHost for Host<'_> {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        self
    }

    fn pause(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn resume(&mut self) {}

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        Ok(Vec::new())
    }
}

impl DirtyLog for Host<'_> {
    fn start(&mut self) -> Result<(), HostError> {
        self.log.start()
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        self.log.harvest(block, dirty)
    }

    /// A chunk at a time, so that each is followed by the hook.
    fn clear(&mut self, _: BlockIndex, _: &DirtyBitmap, from: u64) -> Result<u64, HostError> {
        (self.on_clear)(&self.log, from);
        Ok(from + PAGES_PER_CHUNK)
    }

    fn stop(&mut self) {
        self.log.stop();
    }
}

/// Migrates over sockets within this process.
pub(crate) fn migrate(
    zero_pages: ZeroPageDetection,
    from: &GuestMemory,
    hypervisor: &mut Host<'_>,
    to: &GuestMemory,
) -> Result<Report> {
    let mut config = SourceConfig::default();
    config.zero_pages = zero_pages;
    let (from, to) = (from.clone(), to.clone());
    host::migrate((config, CHANNELS), from, to, |source| {
        source.run(hypervisor)
    })
}
