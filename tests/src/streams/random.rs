// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Numbers, names and bytes that nobody would think of.

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

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// A name of up to `max` bytes, of everything that a name can be.
    pub(super) fn name(&mut self, max: usize) -> String {
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

    /// A name without what no beginning of a section has.
    pub(super) fn tame_name(&mut self, max: usize) -> String {
        let name = self
            .name(max)
            .replace(|char: char| char.is_ascii_control(), "-");
        format!("{name}.")
            .chars()
            .skip_while(|char| *char == '/')
            .collect()
    }

    /// Up to so many bytes.
    pub(super) fn bytes(&mut self, max: usize) -> Vec<u8> {
        let len = self.below(max);
        (0..len).map(|_| self.number().to_le_bytes()[3]).collect()
    }
}
