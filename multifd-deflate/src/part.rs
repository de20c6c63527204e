// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Making parts of a stream that never ends.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress};
use libdeflater::{CompressionLvl, Compressor};

use crate::Level;
use crate::cut::{NOTHING, cut};
use crate::isal::{IsalEncoder, Library, Mode};
use crate::stored::{Stream, store};

/// Compresses parts of streams that go on, for one channel. A part refers to nothing before it and ends at a byte, in a
/// stored block without content: what RFC 1951 calls nothing and zlib a full flush.
pub struct PartEncoder {
    engine: Engine,
}

enum Engine {
    Isal(IsalEncoder),
    Pieces(Pieces),
    Whole(Compress),
}

impl PartEncoder {
    pub(crate) fn new(isal: Option<&Library>, level: Level) -> Self {
        let engine = match isal {
            _ if level > Level::FASTEST => Engine::Whole(whole(level)),
            Some(isal) => Engine::Isal(IsalEncoder::new(isal.clone(), Mode::Dynamic)),
            None => Engine::Pieces(Pieces::new()),
        };
        Self { engine }
    }

    /// Writes `content` to the front of `out` as blocks none of which is the last one, and returns their length; `None`
    /// if there is not room enough, or no content. What `out` then holds is not defined.
    pub fn encode(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        if content.is_empty() {
            return None;
        }
        match &mut self.engine {
            Engine::Isal(encoder) => encode_flushed(encoder, content, out),
            Engine::Pieces(pieces) => pieces.encode(content, out),
            Engine::Whole(compress) => encode_whole(compress, content, out),
        }
    }
}

impl fmt::Debug for PartEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartEncoder").finish_non_exhaustive()
    }
}

/// libdeflate, which makes less of memory than zlib-rs at its level 1 in no more time, but only streams that end. Of
/// pieces this short nearly all become one block, and a stream of one block can be [cut].
struct Pieces {
    compressor: Compressor,
    /// For the pieces that cannot.
    others: Compress,
}

impl Pieces {
    fn new() -> Self {
        // The library's level 0 does not compress.
        let level = CompressionLvl::new(1).unwrap_or_default();
        Self {
            compressor: Compressor::new(level),
            others: Compress::new(Compression::new(2), false),
        }
    }

    fn encode(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        // All about as long: a short one would make more of its content.
        let count = content.len().div_ceil(PIECE_LEN);
        let mut done = 0;
        for piece in content.chunks(content.len().div_ceil(count)) {
            let room = out.get_mut(done..)?;
            let made = self.compressor.deflate_compress(piece, room).ok();
            let made = made.and_then(|len| cut(room, len));
            done += match made {
                Some(len) => len,
                None => encode_whole(&mut self.others, piece, room)?,
            };
        }
        Some(done)
    }
}

/// ISA-L flushes by itself, but for what it stores, which ends at a byte anyway.
fn encode_flushed(encoder: &mut IsalEncoder, content: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = encoder.encode(content, out, Stream::GoesOn)?;
    if out.get(..len)?.ends_with(&NOTHING) {
        return Some(len);
    }
    Some(len + store(&[], out.get_mut(len..)?, Stream::GoesOn)?)
}

/// zlib-rs, which flushes by itself.
fn whole(level: Level) -> Compress {
    Compress::new(Compression::new(level.number().into()), false)
}

fn encode_whole(compress: &mut Compress, content: &[u8], out: &mut [u8]) -> Option<usize> {
    compress.reset();
    compress.compress(content, out, FlushCompress::Sync).ok()?;
    let made = usize::try_from(compress.total_out()).ok()?;
    // A full output may want for the end.
    let is_whole = compress.total_in() == content.len() as u64 && made < out.len();
    is_whole.then_some(made)
}

/// libdeflate ends a block after 8192 matches, which are some 48 KiB of text. 64 KiB would be 2 % smaller, but a quarter
/// of them has a second block.
const PIECE_LEN: usize = 48 << 10;

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress, Status};

    use super::*;
    use crate::Deflate;

    #[test]
    fn parts_make_one_stream() {
        let text: Vec<u8> = (0..9000u32)
            .flat_map(|at| format!("entry {} of {};", at * at % 977, at % 31).into_bytes())
            .collect();
        let random: Vec<u8> = (0..20_000u64)
            .flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
            .collect();
        let same = vec![7; 200_000];
        for level in 1..=9 {
            let level = Level::new(level).unwrap();
            let mut encoder = Deflate::built_in().part_encoder(level);
            let (mut stream, mut want) = (Vec::new(), Vec::new());
            for content in [&text[..], &same, &random, b"x", &text[..48 << 10]] {
                let mut out = vec![0; content.len() + 1000];
                let len = encoder.encode(content, &mut out).unwrap();
                assert!(out[..len].ends_with(&[0, 0, 0xff, 0xff]));
                stream.extend_from_slice(&out[..len]);
                want.extend_from_slice(content);
                assert_eq!(encoder.encode(content, &mut out[..5]), None);
            }
            let (text, mut out) = (&text[..48 << 10], vec![0; 48 << 10]);
            let len = encoder.encode(text, &mut out).unwrap();
            assert!(len < text.len() / 4, "{level:?}: {len}");
            let mut got = Vec::with_capacity(want.len() + 1);
            let mut inflater = Decompress::new(false);
            let status = inflater.decompress_vec(&stream, &mut got, FlushDecompress::Sync);
            assert_eq!(status.unwrap(), Status::Ok);
            assert!(got == want, "{level:?}");
        }
    }
}
