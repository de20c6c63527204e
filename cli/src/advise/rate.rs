//! Rates on the command line.

use std::str::FromStr;

/// Bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Rate {
    type Err = String;

    /// Reads bytes with an optional suffix K, M, G or T, in powers of 1024 as `max-bandwidth` has them,
    /// or bits as links have them: `10Gbit`, `100Mbit`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
        let suffix = text.get(digits.len()..).unwrap_or_default();
        let unit = match suffix.to_ascii_lowercase().as_str() {
            "" => 1.0,
            "k" => 1024.0,
            "m" => 1024.0 * 1024.0,
            "g" => 1024.0 * 1024.0 * 1024.0,
            "t" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "kbit" => 1e3 / 8.0,
            "mbit" => 1e6 / 8.0,
            "gbit" => 1e9 / 8.0,
            _ => f64::NAN,
        };
        let rate = digits.parse().map_or(f64::NAN, |number: f64| number * unit);
        if (0.0..MOST).contains(&rate) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "neither negative nor too large"
            )]
            Ok(Self(rate.round() as u64))
        } else {
            Err(format!(
                "{text:?} is no rate, wanted bytes per second like 100M or 1.2G, or bits like 10Gbit"
            ))
        }
    }
}

/// No link and no guest is that fast, and every whole number below is exact.
const MOST: f64 = 9e15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_or_bits() {
        for (text, bytes) in [
            ("0", 0),
            ("100M", 104_857_600),
            ("1.5g", 1_610_612_736),
            ("10Gbit", 1_250_000_000),
            ("100mbit", 12_500_000),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)));
        }
        for text in ["", "fast", "-1", "1X", "inf", "nan", "1e400", "G"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }
}
