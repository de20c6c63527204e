// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Telling pages that no compressor makes smaller from all others, at a fraction of its cost.
//!
//! A fast compressor spends most time on what it gains nothing from: encrypted and compressed
//! data. A method whose format can carry bytes as they are asks here first.

use std::iter;

/// Splits bytes into runs that are worth compressing and runs that are not, alternating. The runs
/// are made of pieces of [`PIECE`] bytes; together they are all of `bytes`.
pub fn compressible_runs(mut bytes: &[u8]) -> impl Iterator<Item = CompressibleRun<'_>> {
    let mut judged = None;
    iter::from_fn(move || {
        let mut pieces = bytes.chunks(PIECE);
        let first = pieces.next()?;
        let compressible = judged.take().unwrap_or_else(|| is_compressible(first));
        let mut count = 1;
        for piece in pieces {
            let next = is_compressible(piece);
            if next != compressible {
                judged = Some(next);
                break;
            }
            count += 1;
        }
        let (run, rest) = bytes
            .split_at_checked(count * PIECE)
            .unwrap_or((bytes, &[]));
        bytes = rest;
        Some(CompressibleRun {
            bytes: run,
            compressible,
        })
    })
}

/// One of the [`compressible_runs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressibleRun<'a> {
    /// What is in it.
    pub bytes: &'a [u8],
    /// Whether it is worth compressing.
    pub compressible: bool,
}

/// Bytes that are judged together: the smallest page, which is what changes from one kind of
/// content to another in a guest.
pub const PIECE: usize = 4096;

/// Whether a compressor is likely to make these bytes smaller by more than a few percent.
///
/// They are if some bytes are more frequent than others, or if parts of them come twice. Both are
/// found out from a sample.
pub fn is_compressible(piece: &[u8]) -> bool {
    is_uneven(piece) || has_repetitions(piece)
}

/// Whether some byte values are more frequent than others: what Huffman coding gains from.
///
/// Most pages show it in a small sample; the others are looked at more closely.
fn is_uneven(piece: &[u8]) -> bool {
    SAMPLES.iter().any(|sample| is_uneven_in(piece, *sample))
}

/// Counts `sample` bytes of each [`SAMPLE_STRIDE`].
///
/// The sum of the squared frequencies is least when all values are equally frequent. For `n` random
/// bytes it is about `n + n * n / 256`, with a standard deviation of `n / 11`; the limit is six of
/// these above.
fn is_uneven_in(piece: &[u8], sample: usize) -> bool {
    let mut counts = [0u32; 256];
    let mut sampled = 0;
    // Consecutive bytes see every field of a record, wherever its length puts them.
    for part in piece.chunks(SAMPLE_STRIDE) {
        let part = part.get(..sample).unwrap_or(part);
        for byte in part {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
        sampled += part.len();
    }
    let squares = counts.iter().map(|count| u64::from(*count).pow(2));
    let sampled = sampled as u64;
    squares.sum::<u64>() > sampled + sampled * sampled / 256 + sampled * 6 / 11
}

/// Whether parts of the piece come twice, at any distance: what a search for matches gains from.
///
/// Only words of four bytes whose first byte is below [`LOOKED_AT`] are looked at. That depends on
/// their content alone, so two equal parts are looked at in the same places.
fn has_repetitions(piece: &[u8]) -> bool {
    let mut seen = [0u32; 1 << SEEN_BITS];
    let (mut looked, mut repeated) = (0u32, 0u32);
    for (number, bytes) in piece.as_chunks::<8>().0.iter().enumerate() {
        let mut hits = below(u64::from_le_bytes(*bytes));
        while hits != 0 {
            let at = number * 8 + hits.trailing_zeros() as usize / 8;
            hits &= hits - 1;
            let word = piece.get(at..at + 4).and_then(|word| word.try_into().ok());
            let word = word.map_or(0, u32::from_le_bytes);
            let hash = word.wrapping_mul(HASH) >> (32 - SEEN_BITS);
            if let Some(slot) = seen.get_mut(hash as usize) {
                looked += 1;
                repeated += u32::from(*slot == word);
                *slot = word;
            }
        }
    }
    repeated * 32 > looked
}

/// The highest bit of each byte of `word` that is below [`LOOKED_AT`].
///
/// A byte just above the limit is taken too when the one before it in memory is below: that is a
/// place looked at in vain.
fn below(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    word.wrapping_sub(ONES * LOOKED_AT) & !word & (ONES * 0x80)
}

/// Of every so many bytes ..
const SAMPLE_STRIDE: usize = 256;
/// .. so many are counted, first and then.
const SAMPLES: [usize; 2] = [8, 32];
/// One place of 32 is looked at for repetitions.
const LOOKED_AT: u64 = 8;
/// The memory for words seen, as a power of two: four times the places that a random piece has.
const SEEN_BITS: u32 = 9;
/// Spreads words over that memory: 2^32 divided by the golden ratio.
const HASH: u32 = 0x9e37_79b1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Random bytes (SplitMix64).
    fn random(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut number = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        };
        (0..len / 8).flat_map(|_| number().to_le_bytes()).collect()
    }

    proptest! {
        #[test]
        fn random_bytes_are_not_compressible(seed: u64) {
            prop_assert!(!is_compressible(&random(seed, PIECE)));
        }

        #[test]
        fn few_values_are(seed: u64, mask in 0u8..0x7f) {
            let few: Vec<u8> = random(seed, PIECE).iter().map(|byte| byte & mask).collect();
            prop_assert!(is_compressible(&few));
        }

        #[test]
        fn random_bytes_that_come_twice_are(seed: u64, len in 1024usize..=2048, at in 0usize..2048) {
            let mut twice = random(seed, PIECE);
            twice.copy_within(..len, at.clamp(len, PIECE - len));
            prop_assert!(is_compressible(&twice));
        }

        #[test]
        fn runs_are_all_the_pieces_in_order(
            kinds in prop::collection::vec(any::<bool>(), 0..12),
            tail in 0usize..PIECE,
            seed: u64,
        ) {
            let mut bytes = random(seed, kinds.len() * PIECE);
            for (piece, kind) in bytes.chunks_mut(PIECE).zip(&kinds) {
                if *kind {
                    piece.fill(7);
                }
            }
            bytes.extend(vec![7; tail]);
            let runs: Vec<_> = compressible_runs(&bytes).collect();
            prop_assert_eq!(runs.iter().map(|run| run.bytes).collect::<Vec<_>>().concat(), bytes.clone());
            for pair in runs.windows(2) {
                prop_assert_eq!(pair[0].compressible, !pair[1].compressible);
                prop_assert_eq!(pair[0].bytes.len() % PIECE, 0);
            }
            for run in &runs {
                for piece in run.bytes.chunks(PIECE) {
                    prop_assert_eq!(is_compressible(piece), run.compressible);
                }
            }
        }
    }
}
