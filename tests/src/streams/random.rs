//! Guests that nobody would think of.

use super::plan::{self, Block, Stream};

/// Numbers from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// The next one.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() % end.max(1) as u64).unwrap_or_default()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A name of up to `max` bytes, of everything that a name can be.
    fn name(&mut self, max: usize) -> String {
        const LETTERS: [&str; 16] = [
            "a", "Z", "0", ".", "/", "..", " ", "\"", "\\", "\n", "\u{1b}", "\u{7f}", "é",
            "\u{202e}", "💾", "%s",
        ];
        let len = 1 + self.below(max);
        let mut name = String::new();
        loop {
            let letter = LETTERS.get(self.below(LETTERS.len())).unwrap_or(&"a");
            if name.len() + letter.len() > len.max(4) {
                return name;
            }
            name.push_str(letter);
        }
    }

    /// A guest with pages of this size.
    pub fn stream(&mut self, page_size: usize) -> Stream {
        let mut blocks: Vec<Block> = Vec::new();
        for number in 0..=self.below(9) {
            // No two of one name.
            let name = format!("{number}{}", self.name(254)).into_bytes();
            let content = self.memory(page_size);
            blocks.push(Block { name, content });
        }
        let devices: Vec<_> = (0..self.below(6))
            .map(|_| (self.name(255), self.below(5000)))
            .collect();
        let devices: Vec<_> = devices
            .iter()
            .map(|(name, len)| (name.as_str(), *len))
            .collect();
        let machine = if self.below(8) == 0 {
            String::new()
        } else {
            self.name(600)
        };
        Stream {
            machine: machine.into_bytes(),
            page_bits: self.coin().then_some(page_size.trailing_zeros()),
            no_capabilities: false,
            validate_uuid: self.coin(),
            uuid: match self.below(4) {
                0 => [0; 16],
                _ => u128::from(self.number())
                    .wrapping_mul(u128::MAX / 7)
                    .to_be_bytes(),
            },
            page_size,
            ram_section_id: match self.below(4) {
                0 => u32::MAX,
                1 => 0,
                2 => 1,
                _ => u32::try_from(self.below(1 << 31)).unwrap_or_default(),
            },
            per_section: self.coin(),
            blocks,
            early: Vec::new(),
            tail: plan::devices(&devices, &[]),
        }
    }

    /// Some pages, of which some are zero.
    fn memory(&mut self, page_size: usize) -> Vec<u8> {
        let mut memory = Vec::new();
        for _ in 0..=self.below(5) {
            let byte = self.number().to_le_bytes()[0] & if self.coin() { 0 } else { u8::MAX };
            memory.extend(std::iter::repeat_n(byte, page_size));
        }
        memory
    }
}
