// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How many bytes a process has allocated, counted by a library that stands before malloc.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::harness::Folder;

/// What counts.
pub(super) struct Counting(PathBuf);

impl Counting {
    /// Compiled in a folder; `None` where malloc is not glibc's.
    pub(super) fn build(folder: &Folder) -> Result<Option<Self>> {
        if !cfg!(target_env = "gnu") {
            return Ok(None);
        }
        let library = folder.path("allocated.so");
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/command/soak/allocated.c"
        );
        let mut compiler = Command::new(std::env::var("CC").unwrap_or("cc".into()));
        // Otherwise the compiler knows what malloc and free do.
        compiler.args(["-shared", "-fPIC", "-O1", "-fno-builtin", "-o"]);
        let compiled = compiler.arg(&library).arg(source).output()?;
        ensure!(compiled.status.success(), "{compiled:?}");
        Ok(Some(Self(library)))
    }

    /// Counts what `command` allocates, once it runs.
    pub(super) fn count(&self, command: &mut Command, file: PathBuf) -> Allocated {
        command.env("LD_PRELOAD", &self.0).env("ALLOCATED", &file);
        Allocated(file)
    }
}

/// Where the number is.
pub(super) struct Allocated(PathBuf);

impl Allocated {
    /// In bytes.
    pub(super) fn now(&self) -> Result<i64> {
        let bytes = std::fs::read(&self.0)?;
        let number = bytes.first_chunk().context("no number")?;
        Ok(i64::from_ne_bytes(*number))
    }
}
