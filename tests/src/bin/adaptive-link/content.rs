// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is in the guest's memory.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use multifd_tests::arena::{Arena, content};

/// What is in the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Content {
    /// The files.
    Files,
    /// What cannot be compressed.
    Random,
    /// Four parts, files and random by turns.
    Changing,
}

/// What memory is filled with.
pub(crate) struct Contents {
    files: Vec<u8>,
    random: Vec<u8>,
}

impl Contents {
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self> {
        Ok(Self {
            files: content(paths)?,
            random: random(RANDOM_BYTES),
        })
    }

    /// Fills the source's memory; answers how many bytes of its pages are not zero.
    pub(crate) fn fill(&self, arena: &Arena, content: Content) -> Result<u64> {
        let (files, random) = (self.files.as_slice(), self.random.as_slice());
        let parts = match content {
            Content::Files => vec![files],
            Content::Random => vec![random],
            Content::Changing => vec![files, random, files, random],
        };
        arena.fill_in_turn(&parts)
    }
}

/// The same ones each time.
fn random(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

/// More than any compressor looks back.
const RANDOM_BYTES: usize = 64 << 20;
