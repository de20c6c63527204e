// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Two files of guest memory, for measurements: one to send, one to receive.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use multifd_core::RamBlock;
use multifd_core::memory::Span;
use tempfile::TempDir;

use crate::host::file_memory;

/// The memory of both sides. Its files are used again for every run, so that no run pays for a
/// page's first touch.
#[derive(Debug)]
pub struct Arena {
    /// The source's memory.
    pub source: PathBuf,
    /// The destination's memory.
    pub destination: PathBuf,
    /// Bytes of each.
    pub bytes: u64,
    source_block: RamBlock,
    destination_block: RamBlock,
    _folder: TempDir,
}

/// Pages that are zero or not together: 15 % of 1 MiB, about.
const STRIPE_PAGES: usize = 256;
const ZERO_PAGES: usize = 38;
const PAGE: usize = 4096;

impl Arena {
    /// Makes the files in a folder of its own in `parent`.
    ///
    /// # Errors
    /// The system's.
    pub fn new(parent: &Path, bytes: u64) -> Result<Self> {
        let folder = TempDir::with_prefix_in("multifd-memory-", parent)?;
        let file = |name| -> Result<(PathBuf, RamBlock)> {
            let path = folder.path().join(name);
            File::create(&path)?.set_len(bytes)?;
            let memory = file_memory(&[("ram", &path)])?;
            let block = memory.blocks().first().context("no block")?.clone();
            Ok((path, block))
        };
        let (source, source_block) = file("source")?;
        let (destination, destination_block) = file("destination")?;
        Ok(Self {
            source,
            destination,
            bytes,
            source_block,
            destination_block,
            _folder: folder,
        })
    }

    /// Fills the source's memory with files and the files in folders, over and over, and answers how
    /// many bytes of its pages are not zero.
    ///
    /// # Errors
    /// Files that cannot be read, or that hold less than a page.
    pub fn fill(&self, paths: &[PathBuf]) -> Result<u64> {
        self.fill_in_turn(&[&content(paths)?])
    }

    /// Fills the source's memory, as many parts of one length as there are contents, each over and over; answers how many
    /// bytes of its pages are not zero.
    ///
    /// # Errors
    /// A content that is less than a page.
    pub fn fill_in_turn(&self, contents: &[&[u8]]) -> Result<u64> {
        let mut non_zero = 0;
        let all = usize::try_from(self.bytes)? / PAGE;
        let part = all.div_ceil(contents.len().max(1));
        let mut pages = self.pages(&self.source_block).peekable();
        for (number, content) in contents.iter().enumerate() {
            // Whole pages, none of which is zero.
            let of_content = content.chunks_exact(PAGE);
            let mut of_content = of_content
                .filter(|page| page.iter().any(|b| *b != 0))
                .cycle();
            while let Some((at, page)) = pages.next_if(|(at, _)| *at < (number + 1) * part) {
                if at % STRIPE_PAGES < STRIPE_PAGES - ZERO_PAGES {
                    page.copy_from(
                        of_content
                            .next()
                            .context("the content is less than a page")?,
                    );
                    non_zero += PAGE as u64;
                } else {
                    page.clear();
                }
            }
        }
        Ok(non_zero)
    }

    /// Spoils the destination's memory, runs a migration, and compares the memories.
    ///
    /// # Errors
    /// The migration's, and memories that differ.
    pub fn checked<T>(&self, migrate: impl FnOnce() -> Result<T>) -> Result<T> {
        let pairs = || {
            self.pages(&self.source_block)
                .zip(self.pages(&self.destination_block))
        };
        for ((_, source), (_, destination)) in pairs() {
            // A destination may take for granted that its memory was zero.
            if source.is_zero() {
                destination.clear();
            } else {
                destination.copy_from(&[0x5a; 64]);
            }
        }
        let run = migrate()?;
        let (mut want, mut got) = ([0; PAGE], [0; PAGE]);
        for ((at, source), (_, destination)) in pairs() {
            source.copy_to(&mut want);
            destination.copy_to(&mut got);
            ensure!(want == got, "the memories differ in page {at}");
        }
        Ok(run)
    }

    fn pages<'a>(&self, block: &'a RamBlock) -> impl Iterator<Item = (usize, Span<'a>)> {
        let spans = (0..self.bytes)
            .step_by(PAGE)
            .map_while(|offset| block.span(offset, PAGE));
        spans.enumerate()
    }
}

/// Returns what is in files and in the files in folders.
///
/// # Errors
/// Files that cannot be read.
pub fn content(paths: &[PathBuf]) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    for path in paths {
        let entries = if path.is_dir() {
            files(path)?
        } else {
            vec![path.clone()]
        };
        for file in entries {
            content.extend(fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    Ok(content)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
