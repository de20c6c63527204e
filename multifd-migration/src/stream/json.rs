// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! JSON (RFC 8259), as far as a VM description asks for it: read once, front to back, by whoever knows
//! what is to come. Nothing is kept but what is taken, and nothing is said about what is wrong.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// What is left of a text. Each call reads one value from its front; `None` is a text that is not JSON, or another
/// value than was asked for.
pub(super) struct Json<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Json<'t> {
    /// Reads all of a text.
    pub(super) fn read<T>(text: &'t [u8], value: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let rest = std::str::from_utf8(text).ok()?;
        let mut json = Self { rest, depth: 0 };
        let value = value(&mut json)?;
        json.skip_space();
        json.rest.is_empty().then_some(value)
    }

    /// Reads an object. `member` is given each name, and reads the value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Option<()>,
    ) -> Option<()> {
        self.bracketed('{', '}', |json| {
            let name = json.string()?;
            json.skip_space();
            json.take(':')?;
            member(json, &name)
        })
    }

    /// Reads a list. `element` reads each of its values.
    pub(super) fn list(&mut self, element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.bracketed('[', ']', element)
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Option<Cow<'t, str>> {
        self.skip_space();
        self.take('"')?;
        let mut value = Cow::Borrowed("");
        loop {
            let end = self
                .rest
                .find(|c| matches!(c, '"' | '\\' | '\0'..='\x1f'))?;
            value += self.rest.get(..end)?;
            self.rest = self.rest.get(end..)?;
            if self.take('"').is_some() {
                return Some(value);
            }
            self.take('\\')?;
            value.to_mut().push(self.escaped()?);
        }
    }

    /// Reads a number without sign, fraction or exponent.
    pub(super) fn integer(&mut self) -> Option<u64> {
        self.number()?.parse().ok()
    }

    /// Reads any value, and forgets it.
    pub(super) fn skip(&mut self) -> Option<()> {
        self.skip_space();
        match self.rest.as_bytes().first()? {
            b'{' => self.object(|json, _| json.skip()),
            b'[' => self.list(Self::skip),
            b'"' => self.string().map(drop),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number().map(drop),
        }
    }

    fn bracketed(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.skip_space();
        self.take(open)?;
        self.depth = Some(self.depth + 1).filter(|depth| *depth <= MAX_DEPTH)?;
        self.skip_space();
        let mut is_done = self.take(close).is_some();
        while !is_done {
            item(self)?;
            self.skip_space();
            is_done = self.take(close).is_some();
            if !is_done {
                self.take(',')?;
            }
        }
        self.depth -= 1;
        Some(())
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Option<char> {
        let (kind, rest) = (self.rest.chars().next()?, self.rest.get(1..)?);
        self.rest = rest;
        Some(match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut units = vec![self.unit()?];
                if (0xd800..0xdc00).contains(units.first()?) {
                    self.word("\\u")?;
                    units.push(self.unit()?);
                }
                let mut decoded = char::decode_utf16(units);
                // Two that do not belong together are two, of which the first is none.
                decoded.next()?.ok()?
            }
            _ => return None,
        })
    }

    /// The four digits of a UTF-16 unit.
    fn unit(&mut self) -> Option<u16> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u16::from_str_radix(digits, 16).ok().filter(|_| are_digits)
    }

    /// The text of a number.
    fn number(&mut self) -> Option<&'t str> {
        self.skip_space();
        let text = self.rest;
        let _ = self.take('-');
        if self.take('0').is_none() {
            self.digits()?;
        }
        if self.take('.').is_some() {
            self.digits()?;
        }
        if self.take('e').or_else(|| self.take('E')).is_some() {
            let _ = self.take('+').or_else(|| self.take('-'));
            self.digits()?;
        }
        text.get(..text.len() - self.rest.len())
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let any = rest.len() < self.rest.len();
        self.rest = rest;
        any.then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    fn take(&mut self, character: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(character)?;
        Some(())
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }
}

/// A string as JSON has it.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\0'..='\x1f' => write!(f, "\\u{:04x}", u32::from(character))?,
                _ => f.write_char(character)?,
            }
        }
        f.write_char('"')
    }
}

/// How deep lists and objects may be in each other: each takes some of the stack.
const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn is_json(text: &str) -> bool {
        Json::read(text.as_bytes(), Json::skip).is_some()
    }

    fn string(text: &str) -> Option<String> {
        Json::read(text.as_bytes(), Json::string).map(Cow::into_owned)
    }

    /// What serde_json says; nothing of a text with a number that it has no type for, where it ends.
    fn is_json_to_serde(text: &str) -> Option<bool> {
        match serde_json::from_str::<Value>(text) {
            Ok(_) => Some(true),
            Err(error) if error.to_string().starts_with("number out of range") => None,
            Err(_) => Some(false),
        }
    }

    #[test]
    fn corners_are_what_they_are_to_others() {
        for text in [
            "",
            " ",
            "{",
            "{}",
            "[ ]",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\" : [ { } ]\n}",
            "{a:1}",
            "{1:1}",
            "[1 2]",
            "01",
            "-0",
            "-",
            "1.",
            ".5",
            "1.5e",
            "1e5",
            "1E+5",
            "1e-05",
            "+1",
            "0x1",
            "truely",
            "true",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83dx\"",
            "\"\\ud83d\\ud83d\"",
            "\"\t\"",
            "\"\\\u{e9}\"",
            "\"\u{e9}\"",
            "1 1",
            "\u{feff}1",
            "[1]\u{a0}",
        ] {
            assert_eq!(Some(is_json(text)), is_json_to_serde(text), "{text:?}");
        }
        assert!(is_json("1e400") && !is_json("1e400e-1"));
    }

    #[test]
    fn depth_has_a_limit() {
        for open in ["[", "{\"a\":"] {
            assert!(!is_json(&open.repeat(1_000_000)));
        }
        for (depth, fits) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(is_json(&text), fits);
        }
        assert!(is_json(&format!("[{}1]", "[],".repeat(1000))));
    }

    #[test]
    fn integers_have_64_bits() {
        let integer = |text: &str| Json::read(text.as_bytes(), Json::integer);
        assert_eq!(integer(" 18446744073709551615 "), Some(u64::MAX));
        for text in [
            "18446744073709551616",
            "-1",
            "-0",
            "1.0",
            "1e3",
            "\"1\"",
            "null",
            "",
        ] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_is_json_to_both_or_to_neither(
            value in value(),
            at in any::<prop::sample::Index>(),
            new in prop::sample::select(&b"{}[]\",:\\0123456789.eE+-tfnul /\x00\x1f"[..]),
        ) {
            let text = serde_json::to_string_pretty(&value).unwrap();
            prop_assert!(is_json(&text));
            let mut changed = text.into_bytes();
            let at = at.index(changed.len());
            changed[at] = new;
            if let Ok(changed) = String::from_utf8(changed)
                && let Some(theirs) = is_json_to_serde(&changed)
            {
                prop_assert_eq!(is_json(&changed), theirs, "{:?}", changed);
            }
        }

        #[test]
        fn strings_are_what_they_are_to_others(text in any::<String>()) {
            let quoted = Quoted(&text).to_string();
            prop_assert_eq!(&serde_json::from_str::<String>(&quoted).unwrap(), &text);
            prop_assert_eq!(string(&quoted), Some(text.clone()));
            let theirs = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(string(&theirs), Some(text));
        }
    }
}
