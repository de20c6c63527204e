// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A page in one pass, with the fixed Huffman codes of RFC 1951, 3.2.6.
//!
//! In 4 KiB there is too little to gain from codes of its own to pay for their description and for
//! a second pass. So each match goes out as soon as it is found, and what is between matches goes
//! out eight bytes at a time. Matches are found as the fast compressors do: one place is remembered
//! for each hash of a few bytes, the first match found is taken, and the search hurries where it
//! finds nothing.

mod bits;
mod codes;

use std::mem;
use std::ops::Range;

use self::bits::{BitWriter, Bits};
use self::codes::{END_OF_BLOCK, FINAL_FIXED_BLOCK, MAX_MATCH};

/// Compresses pages with fixed codes. Nothing goes from page to page.
#[derive(Debug)]
pub(crate) struct FixedEncoder {
    /// Where bytes with a hash were seen last.
    seen: Box<[u16; SLOTS]>,
}

impl FixedEncoder {
    /// The longest content in bytes.
    pub(crate) const MAX_CONTENT: usize = 4096;

    pub(crate) fn new() -> Self {
        Self {
            seen: Box::new([0; SLOTS]),
        }
    }

    /// Writes `content` as one complete stream to the front of `out` and returns its length. `None`
    /// if it is too long, or if `out` has no room for the stream and
    /// eight bytes: bits are written as words.
    pub(crate) fn encode(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        if content.len() > Self::MAX_CONTENT {
            return None;
        }
        let mut writer = BitWriter::new(out);
        writer.push(FINAL_FIXED_BLOCK)?;
        self.seen.fill(0);
        let (mut at, mut done, mut patience) = (1, 0, PATIENCE);
        while let Some(word) = word_at(content, at) {
            let from = self.replace(word, at)?;
            let differ = word ^ word_at(content, from)?;
            if differ & HASHED != 0 {
                at += patience / PATIENCE;
                patience += 1;
                continue;
            }
            let length = match_length(content.get(from..)?, content.get(at..)?);
            write_literals(&mut writer, content, done..at)?;
            let distance = u16::try_from(at - from).ok()?;
            writer.push(codes::length(length).then(codes::distance(distance)))?;
            at += length;
            (done, patience) = (at, PATIENCE);
            // One place inside of the match is enough to find others of its kind.
            let inside = at - 2;
            if let Some(word) = word_at(content, inside) {
                self.replace(word, inside)?;
            }
        }
        write_literals(&mut writer, content, done..content.len())?;
        writer.push(END_OF_BLOCK)?;
        writer.finish()
    }

    /// Remembers that `word` is at `at`, and returns where one with its hash was before.
    #[inline]
    fn replace(&mut self, word: u64, at: usize) -> Option<usize> {
        let hash = (word & HASHED).wrapping_mul(SPREAD) >> (u64::BITS - SLOT_BITS);
        let slot = self.seen.get_mut(hash as usize)?;
        Some(mem::replace(slot, u16::try_from(at).ok()?).into())
    }
}

#[inline]
fn word_at(content: &[u8], at: usize) -> Option<u64> {
    let bytes = content.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// How many bytes are the same at the start of both, as far as a match can reach.
#[inline]
fn match_length(earlier: &[u8], later: &[u8]) -> usize {
    let (later_blocks, rest) = later.as_chunks();
    let blocks = earlier.as_chunks().0.iter().zip(later_blocks);
    let mut same = 0;
    for (earlier, later) in blocks.take(MAX_MATCH.div_ceil(BLOCK)) {
        match first_difference(earlier, later) {
            Some(at) => return MAX_MATCH.min(same + at),
            None => same += BLOCK,
        }
    }
    let tail = earlier.get(same..).unwrap_or_default().iter().zip(rest);
    same += tail.take_while(|(earlier, later)| earlier == later).count();
    MAX_MATCH.min(same)
}

/// Where the first bytes are that differ. The four words are looked at together: how long a match is
/// cannot be foreseen, and to guess wrongly costs more.
#[inline]
fn first_difference(earlier: &[u8; BLOCK], later: &[u8; BLOCK]) -> Option<usize> {
    let mut differ = [0; BLOCK / 8];
    let words = earlier.as_chunks().0.iter().zip(later.as_chunks().0);
    for (differ, (earlier, later)) in differ.iter_mut().zip(words) {
        *differ = u64::from_le_bytes(*earlier) ^ u64::from_le_bytes(*later);
    }
    let [first, second, third, fourth] = differ;
    let front = if first != 0 { (0, first) } else { (8, second) };
    let back = if third != 0 {
        (16, third)
    } else {
        (24, fourth)
    };
    let (same, differ) = if first | second != 0 { front } else { back };
    (differ != 0).then(|| same + differ.trailing_zeros() as usize / 8)
}

/// Writes a part of the content without matches, eight bytes at a time.
#[inline]
fn write_literals(writer: &mut BitWriter<'_>, content: &[u8], part: Range<usize>) -> Option<()> {
    let mut at = part.start;
    while at < part.end {
        let count = (part.end - at).min(8);
        // There are eight bytes but at the content's end.
        let word = word_at(content, at).or_else(|| short_word(content.get(at..)?))?;
        // In two steps: a word cannot be shifted by all its bits.
        let others = u64::MAX << (4 * count) << (4 * count);
        if let Some(codes) = codes::low_literals(word & !others) {
            writer.push_bytes(codes & !others, count)?;
        } else {
            let bytes = word.to_le_bytes();
            for four in bytes.get(..count)?.chunks(4) {
                let codes = four.iter().map(|byte| codes::literal(*byte));
                writer.push(codes.reduce(Bits::then)?)?;
            }
        }
        at += count;
    }
    Some(())
}

/// Fewer than eight bytes, and zeros.
#[cold]
fn short_word(bytes: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(word))
}

/// The bytes of a word that are hashed, and the same in a match: a shorter one is as many bits as
/// literals are, nearly.
const HASHED: u64 = (1 << 40) - 1;
/// 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// The places remembered, as a power of two. They are to leave the processor's nearest cache to others.
const SLOT_BITS: u32 = 11;
const SLOTS: usize = 1 << SLOT_BITS;
/// After so many places without a match the search takes steps of two, after as many more of three.
const PATIENCE: usize = 32;
/// Bytes compared at once.
const BLOCK: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;

    fn round_trip(content: &[u8]) -> usize {
        let mut out = vec![0; 2 * content.len() + 32];
        let length = FixedEncoder::new().encode(content, &mut out).unwrap();
        let mut decoded = vec![0; content.len()];
        let decoded_to = Decoder::new().decode_exact(&out[..length], &mut decoded);
        assert_eq!(decoded_to, Ok(()), "{} bytes", content.len());
        assert!(decoded == content, "{} bytes", content.len());
        length
    }

    /// Words in an order without a pattern, with bytes of every value now and then.
    fn text(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut text = Vec::new();
        while text.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 29 {
                0 => text.extend(state.to_le_bytes()),
                word => text.extend_from_slice(&b"page memory guest of the "[..3 * word as usize]),
            }
        }
        text.truncate(len);
        text
    }

    #[test]
    fn every_length_of_content() {
        let text = text(FixedEncoder::MAX_CONTENT);
        for len in 0..=text.len() {
            round_trip(&text[..len]);
        }
        assert!(round_trip(&text) < text.len() * 2 / 3);
        let longer = [&text[..], b"more"].concat();
        assert_eq!(FixedEncoder::new().encode(&longer, &mut [0; 8192]), None);
    }

    #[test]
    fn matches_of_every_length_at_every_place() {
        for len in 4..300 {
            for end in [0, 1, 7, 8, 9, 31, 32, 33, 300] {
                let mut content = vec![0; 17];
                content.extend((0..=255).cycle().take(len));
                content.extend([0xee; 3]);
                content.extend((0..=255).cycle().take(len));
                content.resize(content.len() + end, 0xff);
                round_trip(&content);
            }
        }
    }

    #[test]
    fn nothing_stays_from_the_page_before() {
        let (first, second) = (text(4096), vec![b'a'; 4096]);
        let (mut fresh, mut used) = (vec![0; 4096], vec![0; 4096]);
        let length = FixedEncoder::new().encode(&first, &mut fresh).unwrap();
        let mut encoder = FixedEncoder::new();
        encoder.encode(&second, &mut used).unwrap();
        assert_eq!(encoder.encode(&first, &mut used), Some(length));
        assert!(fresh[..length] == used[..length]);
    }

    #[test]
    fn no_more_room_is_used_than_there_is() {
        let text = text(4096);
        let mut out = vec![0; 8192];
        let mut encoder = FixedEncoder::new();
        let length = encoder.encode(&text, &mut out).unwrap();
        for room in 0..length {
            assert_eq!(encoder.encode(&text, &mut out[..room]), None);
        }
        assert_eq!(encoder.encode(&text, &mut out[..length + 8]), Some(length));
    }
}
