// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the guest writes to each page.

/// The address of the first page that the guest writes.
pub const FIRST: u64 = 1 << 20;
/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Words of 32 bits in a page.
pub(super) const WORDS: usize = PAGE / 4;

/// What a page holds; the page's number modulo 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Never written: zero for ever.
    Untouched,
    /// The counters, and zeros between them.
    Counters,
    /// The same word again and again.
    Constant,
    /// Noise that is the same in each pass.
    Noise,
    /// A table of ascending words.
    Table,
    /// Half of the bits are noise.
    HalfNoise,
    /// Noise that is another one in each pass.
    FreshNoise,
    /// Zero after each odd pass; otherwise as [`Counters`](Self::Counters).
    SometimesZero,
}

impl Kind {
    /// The kind of the page at an address.
    #[must_use]
    pub fn of(address: u64) -> Self {
        match (address / PAGE as u64) % 8 {
            0 => Self::Untouched,
            1 => Self::Counters,
            2 => Self::Constant,
            3 => Self::Noise,
            4 => Self::Table,
            5 => Self::HalfNoise,
            6 => Self::FreshNoise,
            _ => Self::SometimesZero,
        }
    }

    /// Factor, step, mask and salt of the page's words.
    fn sequence(self) -> (u32, u32, u32, u32) {
        match self {
            Self::Untouched | Self::Counters | Self::SometimesZero => (1, 0, 0, 0),
            Self::Constant => (1, 0, u32::MAX, 0),
            Self::Noise => (FACTOR, STEP, u32::MAX, 0),
            Self::Table => (1, 1, u32::MAX, 0),
            Self::HalfNoise => (FACTOR, STEP, 0x0f0f_0f0f, 0),
            Self::FreshNoise => (FACTOR, STEP, u32::MAX, u32::MAX),
        }
    }
}

/// The words of the page at `address` once `pass` has written it; after pass 0, as it was at the start.
#[must_use]
pub fn page(address: u64, pass: u32) -> Vec<u32> {
    let kind = Kind::of(address);
    let zero = match kind {
        Kind::Untouched => true,
        Kind::SometimesZero => !pass.is_multiple_of(2),
        _ => false,
    };
    if zero || pass == 0 {
        return vec![0; WORDS];
    }
    // The guest's addresses have 32 bits.
    let address = u32::try_from(address).unwrap_or(u32::MAX);
    let (factor, step, mask, salt) = kind.sequence();
    let mut words = Vec::with_capacity(WORDS);
    words.extend([pass, pass ^ address]);
    let mut x = address ^ (pass & salt);
    words.extend((0..WORDS - 3).map(|_| {
        let word = x & mask;
        x = x.wrapping_mul(factor).wrapping_add(step);
        word
    }));
    words.push(pass);
    words
}

const FACTOR: u32 = 1_664_525;
const STEP: u32 = 1_013_904_223;
