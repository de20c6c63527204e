// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Times as JSON has them: milliseconds with a fraction, to the microsecond.

use std::time::Duration;

#[cfg(feature = "serde")]
use serde::de::{Deserialize, Deserializer, Error as _};
#[cfg(feature = "serde")]
use serde::ser::{Serialize, Serializer};

/// Milliseconds, to the microsecond.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// For `#[serde(with)]`.
#[cfg(feature = "serde")]
pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    millis(*time).serialize(serializer)
}

/// For `#[serde(with)]`.
#[cfg(feature = "serde")]
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(from)? / 1e3;
    Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
}
