// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How hard an encoder tries.

/// A compression level, 1 to 9. Each one takes longer than the one before and makes less of most data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Level 1.
    pub const FASTEST: Self = Self(1);
    /// Level 9.
    pub const BEST: Self = Self(9);

    /// The level of this number; `None` if it is not one of 1 to 9.
    pub fn new(level: u8) -> Option<Self> {
        (1..=9).contains(&level).then_some(Self(level))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_nine() {
        let known: Vec<u8> = (0..=255)
            .filter_map(Level::new)
            .map(Level::number)
            .collect();
        assert_eq!(known, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(Level::new(1), Some(Level::FASTEST));
        assert_eq!(Level::new(9), Some(Level::BEST));
    }
}
