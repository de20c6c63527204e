// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that nobody would think of.

use super::early::early;
use super::plan::{self, Block, Stream};
use super::random::Random;

impl Random {
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
        let ram_section_id = match self.below(4) {
            0 => u32::MAX,
            1 => 0,
            2 => 1,
            _ => u32::try_from(self.below(1 << 31)).unwrap_or_default(),
        };
        let early = early(self, ram_section_id);
        let described = early
            .described
            .iter()
            .map(|(name, len)| (name.as_str(), *len));
        let tail = plan::devices(&devices, &described.collect::<Vec<_>>());
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
            ram_section_id,
            per_section: self.coin(),
            blocks,
            tail: [&early.tail[..], &tail].concat(),
            early,
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
