// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Taking the end off a stream, so that it can go on.
//!
//! libdeflate only makes streams that end. One that is a single block goes on without being decoded: the bit that says
//! that the block is the last one is the stream's first, and behind the code that ends the block, which is found in the
//! block's header, there are only zeros up to the next byte.

/// Makes the complete stream at the front of `out`, `len` bytes, one that goes on: it ends at a byte, in a stored block
/// without content, as after a flush. Returns its new length.
///
/// `None` if it has several blocks, if it cannot be told where its last code ends, or if there is no room. The stream is
/// of no use then.
pub(crate) fn cut(out: &mut [u8], len: usize) -> Option<usize> {
    let stream = out.get(..len)?;
    let mut bits = Bits { stream, at: 0 };
    if bits.take(1)? != 1 {
        return None;
    }
    let end = match bits.take(2)? {
        STORED => 8 * len,
        DYNAMIC => end_of_block(&mut bits)?.end(stream)?,
        _ => return None,
    };
    // The header of a stored block is three zeros, for which there may be room before the next byte.
    let header = usize::from(8 * len - end < 3);
    let longer = len + header + NOTHING.len();
    let (header, nothing) = out.get_mut(len..longer)?.split_at_mut(header);
    header.fill(0);
    nothing.copy_from_slice(&NOTHING);
    *out.first_mut()? &= !1;
    Some(longer)
}

/// What follows the header of a stored block without content: its length, twice.
pub(crate) const NOTHING: [u8; 4] = [0, 0, 0xff, 0xff];
/// Kinds of blocks (RFC 1951, 3.2.3). Where one with fixed codes ends cannot be told: that code is all zeros.
const STORED: usize = 0;
const DYNAMIC: usize = 2;

/// A code of a block.
struct Code {
    code: usize,
    len: usize,
}

impl Code {
    /// The bit behind this code, if it is the last thing in `stream`. One without any one cannot be told from the zeros
    /// that follow it.
    fn end(&self, stream: &[u8]) -> Option<usize> {
        let mut backwards = stream.iter().enumerate().rev();
        let (number, last) = backwards.find(|(_, byte)| **byte > 0)?;
        let last_one = 8 * number + usize::try_from(last.checked_ilog2()?).ok()?;
        // The most significant bit of a code comes first.
        let zeros = usize::try_from(self.code.trailing_zeros()).ok()?;
        let end = last_one + 1 + zeros;
        let mut bits = Bits {
            stream,
            at: end.checked_sub(self.len)?,
        };
        let found = bits.take_code(self.len)? == self.code;
        (self.code > 0 && found && end.div_ceil(8) == stream.len()).then_some(end)
    }
}

/// Reads the header of a block with codes of its own (RFC 1951, 3.2.7), and returns the code that ends the block.
fn end_of_block(bits: &mut Bits<'_>) -> Option<Code> {
    let symbols = 257 + bits.take(5)?;
    let _distances = bits.take(5)?;
    let count = 4 + bits.take(4)?;
    let mut lens_of_lens = [0; LENGTH_SYMBOLS];
    for symbol in ORDER.iter().take(count) {
        *lens_of_lens.get_mut(*symbol)? = bits.take(3)?;
    }
    let mut lens = [0; MOST_SYMBOLS];
    let mut at = 0;
    while at < symbols {
        let (len, times) = match bits.take_symbol(&lens_of_lens)? {
            16 => (*lens.get(at.checked_sub(1)?)?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            len => (len, 1),
        };
        // What goes on into the distances is none of ours.
        let end = (at + times).min(symbols);
        lens.get_mut(at..end)?.fill(len);
        at += times;
    }
    let len = *lens.get(END_OF_BLOCK)?;
    let before = lens
        .iter()
        .take(END_OF_BLOCK)
        .filter(|other| **other == len);
    let code = first_code(&lens, len) + before.count();
    (len > 0).then_some(Code { code, len })
}

/// The first code of this length (RFC 1951, 3.2.2).
fn first_code(lens: &[usize], len: usize) -> usize {
    (1..len).fold(0, |code, shorter| {
        (code + lens.iter().filter(|len| **len == shorter).count()) << 1
    })
}

/// The symbol that ends a block.
const END_OF_BLOCK: usize = 256;
/// How many symbols there can be for literals and lengths.
const MOST_SYMBOLS: usize = 288;
/// How many symbols there are for the lengths of codes, ..
const LENGTH_SYMBOLS: usize = 19;
/// .. in which order their own lengths come, ..
const ORDER: [usize; LENGTH_SYMBOLS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// .. and how long their codes are at most.
const LONGEST_OF_LENGTHS: usize = 7;

/// Bits in the order of a stream.
struct Bits<'s> {
    stream: &'s [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<usize> {
        let byte = *self.stream.get(self.at / 8)?;
        let bit = byte >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// A number, whose least significant bit comes first.
    fn take(&mut self, count: usize) -> Option<usize> {
        (0..count).try_fold(0, |number, at| Some(number | self.bit()? << at))
    }

    /// A code, whose most significant bit comes first.
    fn take_code(&mut self, len: usize) -> Option<usize> {
        (0..len).try_fold(0, |code, _| Some(code << 1 | self.bit()?))
    }

    /// A symbol that is coded with codes of these lengths.
    fn take_symbol(&mut self, lens: &[usize; LENGTH_SYMBOLS]) -> Option<usize> {
        let mut code = 0;
        for len in 1..=LONGEST_OF_LENGTHS {
            code = code << 1 | self.bit()?;
            let mut with = lens.iter().enumerate().filter(|(_, other)| **other == len);
            let number = code.checked_sub(first_code(lens, len))?;
            if let Some((symbol, _)) = with.nth(number) {
                return Some(symbol);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
    use libdeflater::{CompressionLvl, Compressor};
    use proptest::prelude::*;

    use super::*;

    /// How much longer a stream becomes, at most.
    const LONGER: usize = 1 + NOTHING.len();

    /// Decompresses a stream that goes on.
    fn inflate(stream: &[u8], most: usize) -> Vec<u8> {
        let mut content = Vec::with_capacity(most + 1);
        let mut inflater = Decompress::new(false);
        let status = inflater.decompress_vec(stream, &mut content, FlushDecompress::Sync);
        assert_eq!(status.unwrap(), Status::Ok);
        assert_eq!(inflater.total_in(), stream.len() as u64);
        content
    }

    /// Compresses twice the same, cuts both, and decompresses them as one stream. Returns whether it could be cut.
    fn round_trip(content: &[u8], level: i32) -> bool {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0; content.len() + 1000];
        let len = compressor.deflate_compress(content, &mut out).unwrap();
        out[len..].fill(0xa5);
        let complete = out[..len].to_vec();
        let Some(longer) = cut(&mut out, len) else {
            return false;
        };
        assert!(longer - len <= LONGER && out[..longer].ends_with(&NOTHING));
        assert!(out[longer..].iter().all(|byte| *byte == 0xa5));
        let twice = [&out[..longer], &out[..longer]].concat();
        assert!(inflate(&twice, 2 * content.len()) == [content, content].concat());

        let mut short = complete.clone();
        short.resize(longer - 1, 0);
        assert_eq!(cut(&mut short, len), None);
        true
    }

    /// Content of a few values, some of them more often, with repetitions.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let part = (any::<u8>(), 1u8..=255, 1usize..600, 1usize..4);
        prop::collection::vec(part, 1..40).prop_map(|parts| {
            let mut state = 1u32;
            let mut content = Vec::new();
            for (base, values, len, times) in parts {
                let bytes: Vec<u8> = (0..len)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        base.wrapping_add(state.to_be_bytes()[0] % values)
                    })
                    .collect();
                content.extend(bytes.repeat(times));
            }
            content
        })
    }

    proptest! {
        #[test]
        fn what_is_cut_goes_on(content in content(), level in 1..13) {
            round_trip(&content, level);
        }

        #[test]
        fn any_bytes_are_looked_at_without_harm(mut bytes: Vec<u8>, len in 0usize..300) {
            cut(&mut bytes, len);
        }

        #[test]
        fn a_damaged_header_is_looked_at_without_harm(at in 0usize..80, with: u8) {
            let content = b"what a guest writes, again and again".repeat(30);
            let mut compressor = Compressor::new(CompressionLvl::new(1).unwrap());
            let mut out = vec![0; 2000];
            let len = compressor.deflate_compress(&content, &mut out).unwrap();
            out[at] ^= with;
            cut(&mut out, len);
        }
    }

    #[test]
    fn usual_memory_can_be_cut() {
        let text: Vec<u8> = (0..6000u32)
            .flat_map(|at| format!("entry {} of {};", at * at % 977, at % 31).into_bytes())
            .take(48 << 10)
            .collect();
        assert!(round_trip(&text, 1));
        let random: Vec<u8> = (0..6000u64)
            .flat_map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
            .take(48 << 10)
            .collect();
        assert!(round_trip(&random, 1));
    }

    #[test]
    fn several_blocks_and_fixed_codes_cannot() {
        for (flushes, is_last) in [(1, 0), (0, 1)] {
            let mut compressor = Compress::new(Compression::new(6), false);
            let mut out = Vec::with_capacity(4096);
            for _ in 0..flushes {
                let flush = FlushCompress::Full;
                let text = b"what a guest writes";
                compressor.compress_vec(text, &mut out, flush).unwrap();
            }
            let flush = FlushCompress::Finish;
            compressor.compress_vec(b"page", &mut out, flush).unwrap();
            assert_eq!(out[0] & 1, is_last);
            let len = out.len();
            out.resize(len + LONGER, 0);
            assert_eq!(cut(&mut out, len), None);
        }
    }
}
