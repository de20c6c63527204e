//! Telling pages that no compressor makes smaller from all others, at a fraction of its cost.
//!
//! A fast compressor spends most time on what it gains nothing from: encrypted and compressed
//! data. A method whose format can carry bytes as they are asks here first.

use std::iter;

/// Splits bytes into runs that are worth compressing and runs that are not, alternating. The runs
/// are made of pieces of [`PIECE`] bytes; together they are all of `bytes`.
pub fn compressible_runs(mut bytes: &[u8]) -> impl Iterator<Item = CompressibleRun<'_>> {
    iter::from_fn(move || {
        let mut pieces = bytes.chunks(PIECE).map(is_compressible);
        let compressible = pieces.next()?;
        let count = 1 + pieces.take_while(|piece| *piece == compressible).count();
        let (run, rest) = bytes.split_at_checked(count * PIECE).unwrap_or((bytes, &[]));
        bytes = rest;
        Some(CompressibleRun { bytes: run, compressible })
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
/// The sum of the squared frequencies is least when all values are equally frequent. The limit is
/// six standard deviations above what random bytes have.
fn is_uneven(piece: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    let mut sampled = 0;
    // Consecutive bytes see every field of a record, wherever its length puts them.
    for part in piece.chunks(SAMPLE_STRIDE) {
        let part = part.get(..SAMPLE_BYTES).unwrap_or(part);
        for byte in part {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
        sampled += part.len();
    }
    let squares: u64 = counts.iter().map(|count| u64::from(count * count)).sum();
    let sampled = sampled as u64;
    let random = sampled + sampled * sampled / 256;
    squares > random + sampled * 6 * 45 / 512
}

/// Whether parts of the piece come twice, at any distance: what a search for matches gains from.
///
/// One position in sixteen is looked at. Which ones depends on their content only, so that two
/// equal parts are looked at in the same positions.
fn has_repetitions(piece: &[u8]) -> bool {
    let mut seen = [0u32; 1 << SEEN_BITS];
    let (mut looked, mut repeated) = (0u32, 0u32);
    for window in piece.windows(4) {
        let &[first, _, _, _] = window else { continue };
        if first >= 16 {
            continue;
        }
        let word = window.try_into().map_or(0, u32::from_le_bytes);
        let hash = word.wrapping_mul(0x9e37_79b1) >> (32 - SEEN_BITS);
        if let Some(slot) = seen.get_mut(hash as usize) {
            looked += 1;
            repeated += u32::from(*slot == word);
            *slot = word;
        }
    }
    repeated * 32 > looked
}

/// Of every so many bytes ..
const SAMPLE_STRIDE: usize = 256;
/// .. so many are counted.
const SAMPLE_BYTES: usize = 32;
/// The memory for words seen: twice as many as a piece has positions to look at.
const SEEN_BITS: u32 = 9;
