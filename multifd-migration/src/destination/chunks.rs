// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which pieces of a device's state have come over the channels.
//!
//! | size | field |
//! |---|---|
//! | 4 | version, 0 |
//! | 4 | number of the piece, from 0 |
//! | 4 | flags; 1: this is the device's configuration, its last piece |
//! | .. | data |
//!
//! VFIO devices send their state so. The pieces of a device come in any order, and nothing on the main channel says how
//! many there are.

use std::collections::BTreeSet;

/// The pieces of one device.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// All before this one have come.
    next: u64,
    /// Those behind it that have come.
    ahead: BTreeSet<u64>,
    /// The number of the configuration, once it has come.
    last: Option<u64>,
    /// A piece that is not laid out so: nothing says when all have come.
    unknown: bool,
}

impl Chunks {
    /// Notes a piece.
    ///
    /// # Errors
    /// What is wrong with its number.
    pub(super) fn note(&mut self, data: &[u8]) -> Result<(), String> {
        let Some((number, is_last)) = header(data) else {
            self.unknown = true;
            return Ok(());
        };
        if number < self.next || !self.ahead.insert(number) {
            return Err(format!("piece {number} comes twice"));
        }
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
        if is_last && let Some(last) = self.last.replace(number) {
            return Err(format!(
                "pieces {last} and {number} are both the configuration"
            ));
        }
        let highest = self.ahead.last().copied().max(self.next.checked_sub(1));
        match self.last {
            Some(last) if highest > Some(last) => Err(format!(
                "a piece comes behind the configuration, which is piece {last}"
            )),
            _ => Ok(()),
        }
    }

    /// What is missing, in words; `None` if everything has come, as far as that can be known.
    pub(super) fn missing(&self) -> Option<String> {
        match self.last {
            _ if self.unknown => None,
            Some(last) if self.next > last => None,
            Some(last) => Some(format!("piece {} of {}", self.next, last + 1)),
            None => Some(format!(
                "piece {} and the configuration, the last one",
                self.next
            )),
        }
    }

    /// Whether a piece was laid out in another way.
    pub(super) fn is_unknown(&self) -> bool {
        self.unknown
    }
}

/// The number of a piece, and whether it is the configuration; `None` if it is laid out in another way.
fn header(data: &[u8]) -> Option<(u64, bool)> {
    let ([0, 0, 0, 0], rest) = data.split_first_chunk()? else {
        return None;
    };
    let (number, rest) = rest.split_first_chunk()?;
    let (flags, _) = rest.split_first_chunk()?;
    let flags = u32::from_be_bytes(*flags);
    (flags & !CONFIGURATION == 0).then_some((
        u32::from_be_bytes(*number).into(),
        flags & CONFIGURATION != 0,
    ))
}

const CONFIGURATION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(number: u32, flags: u32) -> Vec<u8> {
        [0, number, flags, 7]
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .collect()
    }

    #[test]
    fn pieces_come_in_any_order() {
        let orders: [&[u32]; 4] = [&[0, 1, 2, 3], &[3, 2, 1, 0], &[2, 3, 0, 1], &[1, 0, 3, 2]];
        for order in orders {
            let mut chunks = Chunks::default();
            for number in order {
                assert!(chunks.missing().is_some());
                chunks
                    .note(&piece(*number, u32::from(*number == 3)))
                    .unwrap();
            }
            assert_eq!(chunks.missing(), None);
            assert!(!chunks.is_unknown());
        }
        let mut chunks = Chunks::default();
        chunks.note(&piece(0, 1)).unwrap();
        assert_eq!(chunks.missing(), None);
    }

    #[test]
    fn what_is_missing_is_said() {
        let mut chunks = Chunks::default();
        let want = "piece 0 and the configuration, the last one";
        assert_eq!(chunks.missing().unwrap(), want);
        chunks.note(&piece(0, 0)).unwrap();
        chunks.note(&piece(2, 1)).unwrap();
        assert_eq!(chunks.missing().unwrap(), "piece 1 of 3");
    }

    #[test]
    fn numbers_that_cannot_be() {
        for (pieces, want) in [
            (&[(0, 0), (0, 0)][..], "piece 0 comes twice"),
            (&[(7, 0), (7, 1)], "piece 7 comes twice"),
            (
                &[(3, 1), (4, 0)],
                "a piece comes behind the configuration, which is piece 3",
            ),
            (&[(0, 0), (1, 0), (0, 1)], "piece 0 comes twice"),
            (
                &[(5, 0), (3, 1)],
                "a piece comes behind the configuration, which is piece 3",
            ),
            (
                &[(3, 1), (2, 1)],
                "pieces 3 and 2 are both the configuration",
            ),
        ] {
            let mut chunks = Chunks::default();
            let noted: Result<Vec<()>, String> = pieces
                .iter()
                .map(|(number, flags)| chunks.note(&piece(*number, *flags)))
                .collect();
            assert_eq!(noted.unwrap_err(), want);
        }
    }

    #[test]
    fn another_layout_is_not_understood() {
        let mut version = piece(0, 0);
        version[3] = 1;
        for data in [&b"short"[..], &version, &piece(0, 2), &[0; 11]] {
            let mut chunks = Chunks::default();
            chunks.note(data).unwrap();
            assert!(chunks.is_unknown());
            assert_eq!(chunks.missing(), None);
        }
    }
}
