// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest that writes at a rate: the boot sector of `guest/paced.s`.

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use super::build;
use super::page::{FIRST, PAGE};

/// A guest that writes to so many pages per second, one after the other and again from the start, as a
/// disk that can be booted. Once it runs it prints an `A` on the first serial port.
#[derive(Debug)]
pub struct Paced {
    _folder: TempDir,
    disk: PathBuf,
}

impl Paced {
    /// Assembles it. It writes to `per_tick` pages in each thousandth of a second, in the `bytes` from
    /// 1 MiB on.
    ///
    /// # Errors
    /// No assembler for x86, or more memory than it can address.
    pub fn assemble(per_tick: u32, bytes: u64) -> Result<Self> {
        let folder = TempDir::with_prefix("multifd-guest-")?;
        let limit = u32::try_from(FIRST + bytes.next_multiple_of(PAGE as u64))?;
        let numbers = [(RATE, per_tick), (LIMIT, limit)];
        let disk = build::disk(folder.path(), "paced.s", &numbers)?;
        Ok(Self {
            _folder: folder,
            disk,
        })
    }

    /// The disk: the boot sector, and zeros behind it.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.disk.clone()
    }
}

/// Where in the boot sector the pages per tick and the end of memory stand.
const RATE: usize = 500;
const LIMIT: usize = 504;
