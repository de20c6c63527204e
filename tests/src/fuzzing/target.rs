//! What a fuzz target is.

use anyhow::Result;

/// A decoder, and what it is fed with.
#[derive(Clone, Copy)]
pub struct Target {
    /// Name of the target: its file in `fuzz_targets`.
    pub name: &'static str,
    /// Decodes bytes; answers whether they were all right.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to start from, made from what real QEMUs sent and from what this project sends.
    pub seeds: fn() -> Result<Vec<Vec<u8>>>,
}
