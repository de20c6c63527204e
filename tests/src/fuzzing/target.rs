// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a fuzz target is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What decodes a peer's bytes, and what it is fed with.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the target: its file in `fuzz_targets`.
    pub name: &'static str,
    /// Decodes bytes; answers whether they were all right.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to start from, made from what real QEMUs sent and from what this project sends.
    pub seeds: fn() -> Result<Vec<Vec<u8>>>,
}

impl Target {
    /// Inputs that something was found with, from this package's folder `found`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn found(&self) -> Result<Vec<Vec<u8>>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("found")
            .join(self.name);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let inputs = fs::read_dir(&folder)?.map(|entry| {
            let path = entry?.path();
            fs::read(&path).with_context(|| path.display().to_string())
        });
        inputs.collect()
    }
}
