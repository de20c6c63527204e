// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A link's rate.

use std::fmt;
use std::str::FromStr;

/// How fast a link is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Link {
    /// Bits per second, on the link between two hosts.
    Rate(f64),
    /// As fast as sockets of one host are.
    Unlimited,
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        match text.parse::<f64>() {
            Ok(gigabits) if (0.001..=400.0).contains(&gigabits) => Ok(Self::Rate(gigabits * 1e9)),
            _ => Err(format!(
                "{text:?} is no rate: wanted Gbit/s, such as 2.5, or `unlimited`"
            )),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(bits) => write!(f, "{}", bits / 1e9),
            Self::Unlimited => write!(f, "unlimited"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for text in ["0.25", "10", "unlimited"] {
            assert_eq!(text.parse::<Link>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "nan", "fast"] {
            text.parse::<Link>().unwrap_err();
        }
    }
}
