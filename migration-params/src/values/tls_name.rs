// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Names of TLS objects and hosts.

use std::fmt;
use std::str::FromStr;

use super::error::ValueError;
use super::value::{self, Form, Value};

/// The id of a TLS object or the name of a host; empty means none.
///
/// Any text without control characters. QEMU looks an id up only when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsName(String);

impl TlsName {
    /// Takes `name` if it holds no control characters.
    ///
    /// # Errors
    ///
    /// [`ValueError`] when it holds one.
    pub fn new(name: impl Into<String>) -> Result<Self, ValueError> {
        let name = name.into();
        if name.chars().any(char::is_control) {
            return Err(value::refused::<Self>(NAME, name));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no name is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Value for TlsName {
    const KIND: &'static str = "str";

    fn allowed() -> String {
        "text without control characters".to_owned()
    }

    fn read(text: &str, _: Form) -> Option<Self> {
        Self::new(unquoted(text)).ok()
    }

    fn text(&self) -> String {
        format!("'{}'", self.0)
    }
}

impl fmt::Display for TlsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TlsName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::new(text)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TlsName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// QMP takes null for the empty name.
#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TlsName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = Option::<String>::deserialize(from)?.unwrap_or_default();
        Self::new(name).map_err(serde::de::Error::custom)
    }
}

/// Takes one pair of quotes off, if there is one.
fn unquoted(text: &str) -> &str {
    ['\'', '"']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

const NAME: &str = "TlsName";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_refused() {
        assert_eq!(
            TlsName::new("a\nb").unwrap_err().to_string(),
            "TlsName expects text without control characters, got 'a\\nb'"
        );
        assert!(TlsName::new("a\0").is_err());
        assert!(TlsName::default().is_empty());
        assert_eq!(TlsName::new("tls0").unwrap().as_str(), "tls0");
    }

    #[test]
    fn text_is_quoted_and_reads_back() {
        for name in ["", "tls0", " a b ", "'", "''", "'x'", "\"x\"", "=x", "::1"] {
            let name = TlsName::new(name).unwrap();
            assert_eq!(TlsName::read(&name.text(), Form::Plain), Some(name));
        }
        for (text, wanted) in [
            ("tls0", "tls0"),
            ("\"a b\"", "a b"),
            ("'", "'"),
            ("'a", "'a"),
        ] {
            assert_eq!(TlsName::read(text, Form::Monitor).unwrap().as_str(), wanted);
        }
    }
}
