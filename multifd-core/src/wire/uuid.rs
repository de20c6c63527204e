// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! UUIDs of VMs.

use std::fmt;

/// A VM's UUID, in the order in which it is printed; all zero when the VM has none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Reads the printed form, `12345678-1234-1234-1234-123456789abc`; the hyphens may be left
    /// out. `None` if it is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = match text.len() {
            32 => text.bytes().collect(),
            36 if text
                .bytes()
                .enumerate()
                .all(|(at, byte)| (byte == b'-') == Self::HYPHENS.contains(&at)) =>
            {
                text.bytes().filter(|byte| *byte != b'-').collect()
            }
            _ => return None,
        };
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16)?;
                *byte = (*byte << 4) | u8::try_from(value).ok()?;
            }
        }
        Some(Self(bytes))
    }

    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(at, 4 | 6 | 8 | 10) {
                "-"
            } else {
                ""
            };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_that_are_none() {
        for text in [
            "",
            "1234",
            "12345678-1234-5678-9abc-def01234567g",
            "1234567812345678-9abc-def0-12345678",
        ] {
            assert_eq!(Uuid::parse(text), None, "{text}");
        }
    }
}
