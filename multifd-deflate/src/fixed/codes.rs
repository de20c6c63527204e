// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The fixed codes (RFC 1951, 3.2.5 and 3.2.6), with the extra bits of lengths and distances.
//!
//! A Huffman code goes out from its highest bit on, everything else from its lowest.

#![expect(
    clippy::indexing_slicing,
    reason = "the tables are as long as their index can be large, and most are filled when compiled"
)]

use super::bits::Bits;

/// The header of a last block with fixed codes.
pub(super) const FINAL_FIXED_BLOCK: Bits = Bits {
    value: 0b011,
    count: 3,
};
/// Symbol 256.
pub(super) const END_OF_BLOCK: Bits = Bits { value: 0, count: 7 };
/// The longest match.
pub(super) const MAX_MATCH: usize = 258;

/// The code of a literal.
#[inline]
pub(super) fn literal(byte: u8) -> Bits {
    LITERALS[usize::from(byte)]
}

/// The codes of eight literals, none of them above 143: theirs have eight bits. `None` if one is above.
#[inline]
pub(super) fn low_literals(bytes: u64) -> Option<u64> {
    const EACH: u64 = u64::MAX / 0xff;
    // 0x70 takes bytes from 144 on beyond 0xff; without its highest bit no byte reaches the next one.
    let high = (bytes & (EACH * 0x7f)) + EACH * 0x70;
    if high & bytes & (EACH * 0x80) != 0 {
        return None;
    }
    // 0b00110000 for 0, and so on.
    let codes = bytes + EACH * 0x30;
    Some(codes.reverse_bits().swap_bytes())
}

/// The code of a match's length, 3 to [`MAX_MATCH`].
#[inline]
pub(super) fn length(length: usize) -> Bits {
    LENGTHS[length.min(MAX_MATCH)]
}

/// The code of a match's distance, 1 to 32768.
#[inline]
pub(super) fn distance(distance: u16) -> Bits {
    let back = u32::from(distance) - 1;
    // Two codes for each power of two: which half of it. The bits below say where in that half.
    let extra = (back | 2).ilog2() - 1;
    let symbol = 2 * extra + (back >> extra);
    let below = back & ((1 << extra) - 1);
    let code = DISTANCES[symbol as usize % DISTANCES.len()];
    code.then(Bits {
        value: below.into(),
        count: extra,
    })
}

/// The code of `code` with `count` bits, as it goes out.
const fn huffman(code: u32, count: u32) -> Bits {
    Bits {
        value: (code.reverse_bits() >> (u32::BITS - count)) as u64,
        count,
    }
}

static LITERALS: [Bits; 256] = {
    let mut codes = [END_OF_BLOCK; 256];
    let (mut byte, mut code, mut count) = (0, 0x30, 8);
    while byte < codes.len() {
        if byte == 144 {
            (code, count) = (0x190, 9);
        }
        codes[byte] = huffman(code, count);
        byte += 1;
        code += 1;
    }
    codes
};

/// By length. There are no codes for lengths below 3.
static LENGTHS: [Bits; MAX_MATCH + 1] = {
    let mut codes = [END_OF_BLOCK; MAX_MATCH + 1];
    let (mut length, mut symbol) = (3, 257);
    while length < MAX_MATCH {
        // 8 symbols for one length each, then 4 each for 2, 4, 8 ... lengths.
        let extra = if symbol < 265 { 0 } else { (symbol - 261) / 4 };
        let mut below = 0;
        while below < 1 << extra && length < MAX_MATCH {
            codes[length] = length_symbol(symbol).then(Bits {
                value: below,
                count: extra,
            });
            below += 1;
            length += 1;
        }
        symbol += 1;
    }
    codes[MAX_MATCH] = length_symbol(285);
    codes
};

const fn length_symbol(symbol: u32) -> Bits {
    match symbol {
        ..280 => huffman(symbol - 256, 7),
        _ => huffman(0xc0 + symbol - 280, 8),
    }
}

static DISTANCES: [Bits; 32] = {
    let mut codes = [END_OF_BLOCK; 32];
    let (mut symbol, mut code) = (0, 0);
    while symbol < codes.len() {
        codes[symbol] = huffman(code, 5);
        symbol += 1;
        code += 1;
    }
    codes
};

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress, Status};

    use super::*;
    use crate::fixed::bits::BitWriter;

    /// What another implementation makes of these codes.
    fn decode(codes: impl Iterator<Item = Bits>, len: usize) -> Vec<u8> {
        let mut stream = vec![0; 2 * len + 32];
        let mut writer = BitWriter::new(&mut stream);
        writer.push(FINAL_FIXED_BLOCK).unwrap();
        codes.for_each(|code| writer.push(code).unwrap());
        writer.push(END_OF_BLOCK).unwrap();
        let written = writer.finish().unwrap();
        let mut content = Vec::with_capacity(len + 1);
        let status = Decompress::new(false)
            .decompress_vec(&stream[..written], &mut content, FlushDecompress::Finish)
            .unwrap();
        assert_eq!(status, Status::StreamEnd);
        content
    }

    #[test]
    fn literals() {
        let bytes: Vec<u8> = (0..=255).collect();
        let codes = bytes.iter().map(|byte| literal(*byte));
        assert_eq!(decode(codes, 256), bytes);
    }

    #[test]
    fn eight_literals_at_once_are_the_same() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                let mut bytes = [0x00, 0x8f, 0x7f, 0x10, 0x80, 0x61, 0x20, 0x0f];
                bytes[place] = byte;
                let codes = low_literals(u64::from_le_bytes(bytes));
                let want = bytes.map(|byte| literal(byte).value.to_le_bytes()[0]);
                assert_eq!(codes, (byte < 144).then(|| u64::from_le_bytes(want)));
            }
        }
    }

    #[test]
    fn lengths() {
        for len in 3..=MAX_MATCH {
            let code = length(len).then(distance(1));
            let content = decode([literal(7), code].into_iter(), len + 1);
            assert_eq!(content, vec![7; len + 1]);
        }
    }

    #[test]
    fn distances() {
        let powers = (0..15).map(|power| 1u16 << power);
        let around = powers.flat_map(|power| [power - 1, power, power + 1, power + power / 2]);
        for back in around
            .chain(1..300)
            .chain([24577, 32768])
            .filter(|back| *back > 0)
        {
            // Bytes that do not repeat within three.
            let mut want: Vec<u8> = (0..u32::from(back))
                .map(|at| at.wrapping_mul(0x9e37_79b1).to_be_bytes()[0])
                .collect();
            let literals: Vec<Bits> = want.iter().map(|byte| literal(*byte)).collect();
            for _ in 0..3 {
                want.push(want[want.len() - usize::from(back)]);
            }
            let code = length(3).then(distance(back));
            let content = decode(literals.into_iter().chain([code]), want.len());
            assert!(content == want, "{back}");
        }
    }
}
