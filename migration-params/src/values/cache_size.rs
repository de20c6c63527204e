// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The size of XBZRLE's cache.

use std::fmt;
use std::str::FromStr;

use super::error::ValueError;
use super::number;
use super::value::{self, Form, Value};

/// The size of XBZRLE's page cache in bytes: a power of two that holds at least one page of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XbzrleCacheSize(u64);

impl XbzrleCacheSize {
    /// The smallest size: one target page of x86 and of most other targets.
    pub const MIN: u64 = 4096;

    /// Takes `bytes` if it is a power of two and no less than [`XbzrleCacheSize::MIN`].
    ///
    /// # Errors
    ///
    /// [`ValueError`] names what is allowed.
    pub fn new(bytes: u64) -> Result<Self, ValueError> {
        Self::checked(bytes).ok_or_else(|| value::refused::<Self>(NAME, bytes))
    }

    /// A constant that the compiler checks.
    #[must_use]
    pub const fn constant<const BYTES: u64>() -> Self {
        const { assert!(BYTES.is_power_of_two() && BYTES >= Self::MIN) };
        Self(BYTES)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    fn checked(bytes: u64) -> Option<Self> {
        let fits = bytes.is_power_of_two() && bytes >= Self::MIN && usize::try_from(bytes).is_ok();
        fits.then_some(Self(bytes))
    }
}

impl Value for XbzrleCacheSize {
    const KIND: &'static str = "size";
    const UNIT: &'static str = "bytes";

    fn allowed() -> String {
        format!(
            "a power of two no less than the target page size of {}",
            Self::MIN
        )
    }

    fn read(text: &str, form: Form) -> Option<Self> {
        Self::checked(number::size(text, form)?)
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl TryFrom<u64> for XbzrleCacheSize {
    type Error = ValueError;

    fn try_from(bytes: u64) -> Result<Self, ValueError> {
        Self::new(bytes)
    }
}

impl From<XbzrleCacheSize> for u64 {
    fn from(size: XbzrleCacheSize) -> Self {
        size.0
    }
}

impl fmt::Display for XbzrleCacheSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for XbzrleCacheSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        value::parse_alone(NAME, text)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for XbzrleCacheSize {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for XbzrleCacheSize {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

const NAME: &str = "XbzrleCacheSize";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_powers_of_two_from_one_page_on() {
        for good in [4096, 8192, 1 << 26, 1 << 63] {
            assert_eq!(XbzrleCacheSize::new(good).map(u64::from), Ok(good));
        }
        for bad in [0, 1, 2048, 4095, 4097, 12_288, u64::MAX] {
            let error = XbzrleCacheSize::new(bad).unwrap_err();
            assert_eq!(error.given, bad.to_string());
        }
    }

    #[test]
    fn reads_sizes() {
        assert_eq!("64M".parse(), Ok(XbzrleCacheSize(1 << 26)));
        assert_eq!("67108864 bytes".parse(), Ok(XbzrleCacheSize(1 << 26)));
        assert_eq!(
            "3M".parse::<XbzrleCacheSize>().unwrap_err().to_string(),
            "XbzrleCacheSize expects a power of two no less than the target page size of 4096, \
             got '3M'"
        );
    }
}
