// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pages of every kind that guests have.

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only zeros. Core sends these without a method, but one may turn zero after core looked.
    Zero,
    /// Words.
    Text,
    /// Records of numbers that grow.
    Table,
    /// Zeros with a few bytes in between.
    Sparse,
    /// Nothing to compress.
    Random,
    /// One byte, again and again.
    Repeated,
    /// Zeros, but for the last byte.
    LastByte,
    /// Random bytes that come twice: nothing for a count of bytes, but half for a match.
    Twice,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Zero,
        Self::Text,
        Self::Table,
        Self::Sparse,
        Self::Random,
        Self::Repeated,
        Self::LastByte,
        Self::Twice,
    ];
}

/// An endless source of pages; the same seed gives the same pages.
#[derive(Clone, Debug)]
pub struct PageSource(u64);

impl PageSource {
    /// A source that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A random number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % limit).unwrap_or_default()
    }

    /// A random byte.
    pub fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// Fills `page` with what `kind` says.
    pub fn fill(&mut self, kind: Kind, page: &mut [u8]) {
        match kind {
            Kind::Zero => page.fill(0),
            Kind::Text => self.text(page),
            Kind::Table => self.table(page),
            Kind::Sparse => {
                page.fill(0);
                for _ in 0..page.len() / 128 {
                    let (at, byte) = (self.below(page.len()), self.byte());
                    put(page, at, &[byte]);
                }
            }
            Kind::Random => self.random(page),
            Kind::Repeated => page.fill(self.byte() | 1),
            Kind::LastByte => {
                page.fill(0);
                put(page, page.len().saturating_sub(1), &[self.byte() | 1]);
            }
            Kind::Twice => {
                let (first, second) = page.split_at_mut(page.len() / 2);
                self.random(first);
                second.copy_from_slice(first);
            }
        }
    }

    fn random(&mut self, page: &mut [u8]) {
        for word in page.chunks_mut(8) {
            word.copy_from_slice(self.number().to_le_bytes().get(..word.len()).unwrap_or(&[]));
        }
    }

    fn text(&mut self, page: &mut [u8]) {
        let mut at = 0;
        while at < page.len() {
            let word = WORDS.get(self.below(WORDS.len())).unwrap_or(&"");
            put(page, at, word.as_bytes());
            at += word.len();
        }
    }

    fn table(&mut self, page: &mut [u8]) {
        let mut row = self.number() & 0xffff;
        for record in page.chunks_mut(16) {
            row += 1 + self.number() % 3;
            put(record, 0, &row.to_le_bytes());
            put(record, 8, &(0x7f00_0000_0000 + row * 64).to_le_bytes());
        }
    }
}

/// Pages of every kind in turn, `count` of them with `page` bytes each, back to back.
pub fn fill(seed: u64, page: usize, count: usize) -> Vec<u8> {
    let mut source = PageSource::new(seed);
    let mut bytes = vec![0; page * count];
    for (page, kind) in bytes.chunks_mut(page).zip(Kind::ALL.iter().cycle()) {
        source.fill(*kind, page);
    }
    bytes
}

fn put(target: &mut [u8], at: usize, bytes: &[u8]) {
    let rest = target.get_mut(at..).unwrap_or_default();
    for (to, from) in rest.iter_mut().zip(bytes) {
        *to = *from;
    }
}

const WORDS: [&str; 24] = [
    "the ",
    "a ",
    "page ",
    "memory ",
    "of ",
    "guest ",
    "moves ",
    "while ",
    "it ",
    "runs ",
    "and ",
    "every ",
    "channel ",
    "sends ",
    "packets, ",
    "each ",
    "with ",
    "normal ",
    "pages. ",
    "No ",
    "one ",
    "waits ",
    "for ",
    "long.\n",
];
