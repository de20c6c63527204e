// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest's memory that a test can fill and look at.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use multifd_core::memory::Mapping;
use multifd_core::wire::BlockName;
use multifd_core::{PageSize, RamBlock};

/// One block of guest memory.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The size of its pages.
    pub page_size: PageSize,
    /// Its only block.
    pub block: RamBlock,
}

impl Guest {
    /// A guest of `pages` pages, all zero.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(page_size: PageSize, pages: usize) -> Result<Self> {
        let region = Mapping::anonymous(page_size.bytes() * pages)?;
        let name = BlockName::new("ram").context("name")?;
        let block = RamBlock::new(name, Arc::new(region))?;
        Ok(Self { page_size, block })
    }

    /// A guest whose memory is `content`, a multiple of the page size.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with(page_size: PageSize, content: &[u8]) -> Result<Self> {
        let guest = Self::new(page_size, content.len() / page_size.bytes())?;
        guest.write(0, content)?;
        Ok(guest)
    }

    /// A guest of `pages` pages that hold a pattern no test sends, to see what was not written.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn untouched(page_size: PageSize, pages: usize) -> Result<Self> {
        Self::with(
            page_size,
            &UNTOUCHED.repeat(page_size.bytes() * pages / UNTOUCHED.len()),
        )
    }

    /// Where page number `page` starts.
    pub fn offset(&self, page: usize) -> u64 {
        self.page_size.bytes_u64() * u64::try_from(page).unwrap_or(u64::MAX)
    }

    /// Where all of its pages start, in order.
    pub fn offsets(&self) -> Vec<u64> {
        (0..self.block.len())
            .step_by(self.page_size.bytes())
            .collect()
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// They do not fit into the block.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let span = self
            .block
            .span(offset, bytes.len())
            .context("outside the block")?;
        span.copy_from(bytes);
        Ok(())
    }

    /// The page at an offset.
    ///
    /// # Errors
    /// It is not inside the block.
    pub fn page(&self, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.page_size.bytes()];
        let span = self
            .block
            .span(offset, bytes.len())
            .context("outside the block")?;
        span.copy_to(&mut bytes);
        Ok(bytes)
    }

    /// Compares the pages at `offsets` with those of `source`, and all others with the pattern of
    /// [`Self::untouched`].
    ///
    /// # Errors
    /// The first page that differs.
    pub fn ensure_received(&self, source: &Self, offsets: &[u64]) -> Result<()> {
        let untouched = UNTOUCHED.repeat(self.page_size.bytes() / UNTOUCHED.len());
        let mut offset = 0;
        while offset < self.block.len() {
            let page = self.page(offset)?;
            if offsets.contains(&offset) {
                ensure!(
                    page == source.page(offset)?,
                    "page {offset:#x} has other content"
                );
            } else {
                ensure!(
                    page == untouched,
                    "page {offset:#x} is not in the packet, but was written"
                );
            }
            offset += self.page_size.bytes_u64();
        }
        Ok(())
    }
}

const UNTOUCHED: &[u8; 8] = b"\xa5nobody!";
