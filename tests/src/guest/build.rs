// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Assembling the guest.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::FIRST;
use crate::peer;

/// The guest for a machine of a certain memory, as a disk that can be booted.
#[derive(Debug)]
pub struct Counter {
    folder: TempDir,
    memory: u64,
}

/// The guest for a machine with `memory` bytes, or `None` where there is no assembler and tests may do
/// without; then that has been said on stderr.
///
/// # Errors
/// Too little memory, or peers are required and the guest cannot be assembled.
pub fn require(memory: u64) -> Result<Option<Counter>> {
    match Counter::assemble(memory) {
        Ok(counter) => Ok(Some(counter)),
        Err(error) if peer::are_required() => {
            Err(error.context("the guest of the tests is required"))
        }
        Err(error) => {
            let line = format!("skipped: {error:#}\n");
            io::stderr().write_all(line.as_bytes())?;
            Ok(None)
        }
    }
}

impl Counter {
    /// Assembles the guest for a machine with `memory` bytes of RAM.
    ///
    /// # Errors
    /// Memory that is not whole MiB from 4 on, or no assembler for x86.
    pub fn assemble(memory: u64) -> Result<Self> {
        ensure!(
            memory >= 4 << 20 && memory.is_multiple_of(1 << 20) && memory <= 2 << 30,
            "the guest wants 4 MiB to 2 GiB of memory in whole MiB, not {memory} bytes"
        );
        let counter = Self {
            folder: TempDir::with_prefix("multifd-guest-")?,
            memory,
        };
        let limit = u32::try_from(counter.range().end)?;
        disk(counter.folder.path(), "counter.s", &[(LIMIT, limit)])?;
        Ok(counter)
    }

    /// The disk: the boot sector, and zeros behind it.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Bytes of memory of the machine that it is for.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// The physical addresses of the pages that it writes. The rest of the last MiB is the firmware's.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        FIRST..self.memory - (1 << 20)
    }
}

/// Assembles a boot sector of `guest/`, with 32-bit numbers at some places of it, to a disk in `folder`.
pub(super) fn disk(folder: &Path, source: &str, numbers: &[(usize, u32)]) -> Result<PathBuf> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let (object, sector) = (folder.join("o"), folder.join("sector"));
    run(Command::new("as")
        .arg("--32")
        .arg("-I")
        .arg(&sources)
        .arg(sources.join(source))
        .arg("-o")
        .arg(&object))?;
    run(Command::new("ld")
        .args(["-m", "elf_i386", "-Ttext=0x7c00", "--oformat", "binary"])
        .arg(&object)
        .arg("-o")
        .arg(&sector))?;
    let mut image = fs::read(sector)?;
    let len = image.len();
    ensure!(
        image.ends_with(&[0x55, 0xaa]) && len == 512,
        "no boot sector but {len} bytes"
    );
    for (place, number) in numbers {
        let place = image.get_mut(*place..place + 4);
        place
            .context("the boot sector is too short")?
            .copy_from_slice(&number.to_le_bytes());
    }
    image.resize(DISK_BYTES, 0);
    let disk = folder.join("disk");
    fs::write(&disk, image)?;
    Ok(disk)
}

fn run(command: &mut Command) -> Result<()> {
    const ADVICE: &str = "the guest of the tests wants binutils for x86: apt-get install binutils";
    let output = command.output().context(ADVICE)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{ADVICE}; {command:?}: {}", text.trim());
    }
    Ok(())
}

/// Where in the boot sector the end of memory stands.
const LIMIT: usize = 504;
/// Firmware takes a disk of this size, that of a floppy, on every machine.
const DISK_BYTES: usize = 1_474_560;
