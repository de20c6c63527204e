// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sizes and rates, in one grammar for what is typed and what is printed.
//!
//! ```text
//! SIZE   NUMBER [B | K | M | G | T | P | E, each also as KiB and so on]     powers of 1024
//! RATE   SIZE [/s]  |  NUMBER kbit | Mbit | Gbit | Tbit [/s]  |  NUMBER mbps   bits in powers of 1000
//! ```
//!
//! A number may have a fraction, and a space before its unit; letters may be of either case. Without a unit
//! it counts bytes. Whatever [`Bytes`] and [`Rate`] print can be typed.

use std::fmt;
use std::str::FromStr;

use indicatif::HumanBytes;
use multifd_core::PageSize;

/// A number of bytes, printed as `1.50 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// A size of guest memory in bytes: whole pages, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemorySize(pub(crate) u64);

/// Bytes per second, printed as `1.50 GiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let bytes = bytes_unit(unit).and_then(|unit| scaled(number, unit));
        bytes.map(Self).ok_or_else(|| {
            format!("{text:?} is not a valid size, wanted a number like 64M or 1.5GiB")
        })
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Bytes(bytes) = text.parse()?;
        if bytes == 0 || !PageSize::X86.is_aligned(bytes) {
            let page = PageSize::X86;
            return Err(format!(
                "{text:?} is not a multiple of the page size, {page} bytes"
            ));
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let unit = unit.strip_suffix("/s").unwrap_or(unit);
        let rate = bytes_unit(unit)
            .or_else(|| bits_unit(unit))
            .and_then(|unit| scaled(number, unit));
        rate.map(Self).ok_or_else(|| {
            format!(
                "{text:?} is not a valid rate, wanted bytes per second like 100M or 1.2GiB/s, or bits \
                 like 10Gbit"
            )
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        HumanBytes(self.0).fmt(f)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0))
    }
}

/// The number and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let is_of_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let end = text.find(|letter| !is_of_number(letter));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    // `1.50 GiB` is what is printed; a space behind the unit is nobody's.
    (
        number,
        unit.strip_prefix(' ')
            .filter(|unit| !unit.is_empty())
            .unwrap_or(unit),
    )
}

/// How many bytes a unit of sizes has.
fn bytes_unit(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_lowercase();
    if unit.is_empty() || unit == "b" {
        return Some(1);
    }
    let prefix = unit.strip_suffix("ib").unwrap_or(&unit);
    let power = ["k", "m", "g", "t", "p", "e"]
        .iter()
        .position(|known| *known == prefix)?;
    Some(1 << (10 * (power + 1)))
}

/// How many bytes per second a unit of links has.
fn bits_unit(unit: &str) -> Option<u64> {
    match unit.to_ascii_lowercase().as_str() {
        "kbit" => Some(1_000 / 8),
        "mbit" | "mbps" => Some(1_000_000 / 8),
        "gbit" => Some(1_000_000_000 / 8),
        "tbit" => Some(1_000_000_000_000 / 8),
        _ => None,
    }
}

/// `number` times `unit`, exactly; a fraction of a byte is dropped.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > MAX_FRACTION_DIGITS {
        return None;
    }
    // Neither side may be empty or have a sign: parsing what has only digits and points sees to it.
    let (whole, part): (u64, u64) = (whole.parse().ok()?, fraction.parse().ok()?);
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let bytes =
        u128::from(whole) * u128::from(unit) + u128::from(part) * u128::from(unit) / denominator;
    u64::try_from(bytes).ok()
}

/// Keeps the fraction's product with an exbibyte well below 128 bits.
const MAX_FRACTION_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("4097", 4097),
            ("16 B", 16),
            ("64M", 64 << 20),
            ("1g", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("1.50 GiB", 3 << 29),
            ("8kib", 8 << 10),
            ("15E", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text:?}");
        }
        for text in [
            "",
            "M",
            "-1M",
            "+1M",
            "1 ",
            " 1",
            "1  M",
            "1KB",
            "1.M",
            ".5M",
            "1.2.3M",
            "16E",
            "1e3",
            "10Gbit",
            "1.0000000000000000001M",
            "1µ",
            "18446744073709551616",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn memory_is_whole_pages() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64M", 64 << 20),
            ("8K", 8192),
            ("1.5G", 3 << 29),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)));
        }
        for text in ["0", "4097", "1K", "-1M", "99999999T"] {
            assert!(text.parse::<MemorySize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn rates_are_bytes_or_bits() {
        for (text, bytes) in [
            ("0", 0),
            ("100M", 100 << 20),
            ("1.5g", 3 << 29),
            ("1.50 GiB/s", 3 << 29),
            ("10Gbit", 1_250_000_000),
            ("2.5Gbit/s", 312_500_000),
            ("100mbit", 12_500_000),
            ("8 kbit", 1000),
            ("800 mbps", 100_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text:?}");
        }
        for text in [
            "", "fast", "-1", "1X", "inf", "nan", "1e400", "G", "1bit", "10Gbps",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_can_be_typed() {
        // Sixteen exbibytes, to which the largest numbers are rounded, are one byte too many.
        for shift in 1..64 {
            for bytes in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let printed = Bytes(bytes).to_string();
                let Bytes(read) = printed.parse().unwrap();
                // Two places of the largest unit that fits are printed.
                assert!(
                    read.abs_diff(bytes) <= bytes / 100,
                    "{printed:?} was {bytes}"
                );
                let printed = Rate(bytes).to_string();
                assert_eq!(printed.parse(), Ok(Rate(read)), "{printed:?}");
            }
        }
    }
}
