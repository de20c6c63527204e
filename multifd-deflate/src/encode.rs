// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Making a stream.

use std::fmt;

use libdeflater::{CompressionLvl, Compressor};

use crate::Level;
use crate::fixed::FixedEncoder;
use crate::isal::{IsalEncoder, Library, Mode};
use crate::stored::Stream;

/// Compresses for one channel. Streams do not depend on each other.
#[derive(Debug)]
pub struct Encoder {
    engine: Engine,
    max_content: usize,
}

impl Encoder {
    pub(crate) fn new(isal: Option<&Library>, level: Level, max_content: usize) -> Self {
        let isal = isal.filter(|_| level == Level::FASTEST).cloned();
        let engine = match (isal, max_content <= FixedEncoder::MAX_CONTENT) {
            (Some(isal), true) => Engine::Isal(IsalEncoder::new(isal, Mode::Fixed)),
            (Some(isal), false) => Engine::Isal(IsalEncoder::new(isal, Mode::Dynamic)),
            (None, true) if level == Level::FASTEST => Engine::Fixed(FixedEncoder::new()),
            (None, _) => Engine::Libdeflate(Libdeflate::new(level)),
        };
        Self {
            engine,
            max_content,
        }
    }

    /// Writes `content` as one complete stream, with its final block, to the front of `out` and
    /// returns its length.
    ///
    /// `None` if it does not fit into `out` with [`Self::SPARE`] bytes to spare, or if there is more
    /// content than the encoder was made for. What `out` then holds is not defined.
    pub fn encode(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        if content.len() > self.max_content {
            return None;
        }
        match &mut self.engine {
            Engine::Isal(encoder) => encoder.encode(content, out, Stream::Ends),
            Engine::Fixed(encoder) => encoder.encode(content, out),
            Engine::Libdeflate(encoder) => encoder.0.deflate_compress(content, out).ok(),
        }
    }

    /// Bytes behind a stream that an encoder may want, and leaves to others.
    pub const SPARE: usize = 16;
}

/// What compresses.
#[derive(Debug)]
enum Engine {
    Isal(IsalEncoder),
    Fixed(FixedEncoder),
    Libdeflate(Libdeflate),
}

struct Libdeflate(Compressor);

impl Libdeflate {
    fn new(level: Level) -> Self {
        // It has levels 1 to 12.
        let level = CompressionLvl::new(level.number().into()).unwrap_or_default();
        Self(Compressor::new(level))
    }
}

impl fmt::Debug for Libdeflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Libdeflate").finish_non_exhaustive()
    }
}
