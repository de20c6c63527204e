//! Making a stream.

use std::fmt;

use libdeflater::{CompressionLvl, Compressor};

use crate::Level;

/// Compresses for one channel.
pub struct Encoder {
    compressor: Compressor,
    max_content: usize,
}

impl Encoder {
    pub(crate) fn new(level: Level, max_content: usize) -> Self {
        // Both have a level 1, and libdeflate's go up to 12.
        let level = CompressionLvl::new(level.number().into()).unwrap_or_default();
        Self {
            compressor: Compressor::new(level),
            max_content,
        }
    }

    /// Writes `content` as one complete stream, with its final block, to the front of `out` and
    /// answers its length.
    ///
    /// `None` if it does not fit into `out`, or if there is more content than the encoder was made
    /// for. Up to a few bytes may then still fit that the encoder does not use.
    pub fn encode(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        if content.len() > self.max_content {
            return None;
        }
        self.compressor.deflate_compress(content, out).ok()
    }

    /// A length of `out` that is enough for any `content` bytes.
    pub fn bound(&mut self, content: usize) -> usize {
        self.compressor.deflate_compress_bound(content)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("max_content", &self.max_content)
            .finish_non_exhaustive()
    }
}
