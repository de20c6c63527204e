// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Numbers and sizes as QEMU's command line and monitor write them.

use super::value::Form;

/// Reads a decimal number or a hexadecimal one after `0x`.
///
/// QEMU takes a leading zero for octal; here it is refused, because a reader takes it for decimal.
pub(crate) fn integer(text: &str, _: Form) -> Option<u64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return all_digits(digits, 16)
            .then(|| u64::from_str_radix(digits, 16).ok())
            .flatten();
    }
    let octal = text.len() > 1 && text.starts_with('0');
    if octal { None } else { decimal(text) }
}

/// Reads a number of bytes: hexadecimal, or decimal with an optional fraction and suffix
/// (B, K, M, G, T, P, E in either case, powers of 1024). Fractions of a byte are dropped.
pub(crate) fn size(text: &str, _: Form) -> Option<u64> {
    scaled(text, 1)
}

/// Reads a number of bytes per second. In the monitor's form a number without suffix counts MiB.
pub(crate) fn bandwidth(text: &str, form: Form) -> Option<u64> {
    match form {
        Form::Plain => scaled(text, 1),
        Form::Monitor => scaled(text, MEBI),
    }
}

/// The words for an inclusive range.
pub(crate) fn between(min: u64, max: u64) -> String {
    if max == u64::MAX && min > 0 {
        return format!("a value of at least {min}");
    }
    format!("a value between {min} and {max}")
}

fn scaled(text: &str, bare_unit: u64) -> Option<u64> {
    if text.starts_with("0x") || text.starts_with("0X") {
        return integer(text, Form::Plain)?.checked_mul(bare_unit);
    }
    let (digits, unit) = split_suffix(text).unwrap_or((text, bare_unit));
    let Some((whole, fraction)) = digits.split_once('.') else {
        return decimal(digits)?.checked_mul(unit);
    };
    if unit == 1 || digits.len() == 1 || fraction.len() > MAX_FRACTION_DIGITS {
        return None;
    }
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole = u128::from(side_of_point(whole)?) * u128::from(unit);
    let part = u128::from(side_of_point(fraction)?) * u128::from(unit) / denominator;
    u64::try_from(whole + part).ok()
}

fn split_suffix(text: &str) -> Option<(&str, u64)> {
    let suffix = text.chars().next_back()?.to_ascii_uppercase();
    let power = SUFFIXES.iter().position(|known| *known == suffix)?;
    let digits = text.get(..text.len() - 1)?;
    Some((digits, 1 << (10 * power)))
}

fn decimal(text: &str) -> Option<u64> {
    all_digits(text, 10).then(|| text.parse().ok()).flatten()
}

/// One side of a decimal point may be empty, as in `.5M`.
fn side_of_point(text: &str) -> Option<u64> {
    if text.is_empty() {
        Some(0)
    } else {
        decimal(text)
    }
}

/// The standard library's parsers also take a sign; these numbers have none.
fn all_digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix))
}

const MEBI: u64 = 1 << 20;
/// Each is 1024 times the one before it; exbi is the last that fits 64 bits.
const SUFFIXES: [char; 7] = ['B', 'K', 'M', 'G', 'T', 'P', 'E'];
/// Keeps the fraction's product with an exbibyte well below 128 bits.
const MAX_FRACTION_DIGITS: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_decimal_or_hexadecimal() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("255", Some(255)),
            ("0x10", Some(16)),
            ("0XfF", Some(255)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("010", None),
            ("00", None),
            ("+1", None),
            ("-1", None),
            ("0x+1", None),
            ("0x", None),
            ("", None),
            ("1 2", None),
            ("1K", None),
        ] {
            assert_eq!(integer(text, Form::Plain), wanted, "{text:?}");
        }
    }

    #[test]
    fn sizes_take_suffixes_and_fractions() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("10b", Some(10)),
            ("10B", Some(10)),
            ("1k", Some(1 << 10)),
            ("128M", Some(128 << 20)),
            ("1G", Some(1 << 30)),
            ("2T", Some(2 << 40)),
            ("1P", Some(1 << 50)),
            ("15E", Some(15 << 60)),
            ("16E", None),
            ("15.999E", Some(18_445_591_152_204_944_769)),
            ("1.5K", Some(1536)),
            ("1.5B", None),
            ("1.5", None),
            (".5M", Some(1 << 19)),
            ("1.M", Some(1 << 20)),
            (".M", None),
            ("1.2.3M", None),
            ("1.0000000000000000001M", None),
            ("0x10", Some(16)),
            ("0x10M", None),
            ("1e3", None),
            ("M", None),
            ("", None),
            ("1µ", None),
            ("-1M", None),
        ] {
            assert_eq!(size(text, Form::Plain), wanted, "{text:?}");
        }
    }

    #[test]
    fn a_bare_bandwidth_counts_mebibytes_in_the_monitors_form_only() {
        assert_eq!(bandwidth("100", Form::Plain), Some(100));
        assert_eq!(bandwidth("100", Form::Monitor), Some(100 << 20));
        assert_eq!(bandwidth("1.5", Form::Monitor), Some(3 << 19));
        assert_eq!(bandwidth("0x10", Form::Monitor), Some(16 << 20));
        assert_eq!(bandwidth("100K", Form::Monitor), Some(100 << 10));
        assert_eq!(bandwidth("17592186044416", Form::Monitor), None);
    }
}
