// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Names of RAM blocks and devices.

use std::fmt;
use std::sync::Arc;

/// Length in bytes of a name field: a NUL-padded string.
pub const NAME_FIELD_LEN: usize = 256;

/// Name of a RAM block: 1 to 255 bytes of UTF-8 without NUL, cheap to clone.
///
/// QEMU names blocks like `pc.ram` or `/rom@etc/acpi/tables`; both sides must use the same names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockName(Arc<str>);

impl BlockName {
    /// Most bytes that a name has: the field on the wire keeps one for the NUL.
    pub const MAX_LEN: usize = NAME_FIELD_LEN - 1;

    /// Takes a name; `None` if it is empty, too long, or contains a NUL.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty() && name.len() <= Self::MAX_LEN && !name.contains('\0');
        fits.then(|| Self(name.into()))
    }

    /// Takes a name as it came over the wire; `None` also if it is not UTF-8.
    pub fn from_wire(name: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(name).ok()?)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For people: what could move a cursor or forge a line is escaped. [`BlockName::as_str`] has the name as it is.
impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\'' | '"' | '\\' => fmt::Write::write_char(f, letter)?,
                _ => letter.escape_debug().fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_field() {
        assert!(BlockName::new(&"x".repeat(255)).is_some());
        for name in ["", "a\0b", &"x".repeat(256)] {
            assert_eq!(BlockName::new(name), None);
        }
        assert_eq!(BlockName::from_wire(b"\xff"), None);
    }

    #[test]
    fn names_of_a_peer_do_nothing_to_a_terminal() {
        for (name, shown) in [
            ("/rom@etc/acpi/tables", "/rom@etc/acpi/tables"),
            ("it's \"q\" \\ é", "it's \"q\" \\ é"),
            (
                "a\x1b[31m\nmultifd: ok\x07",
                "a\\u{1b}[31m\\nmultifd: ok\\u{7}",
            ),
            ("\u{202e}gpj", "\\u{202e}gpj"),
        ] {
            let name = BlockName::new(name).unwrap();
            assert_eq!(name.to_string(), shown);
        }
    }
}
