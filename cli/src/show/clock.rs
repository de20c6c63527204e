// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Times as reports have them.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Returns milliseconds, to the microsecond.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A time in UTC, to the second, as RFC 3339 writes it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The processor time of this process so far.
pub(crate) fn cpu_time() -> Duration {
    // Linux never answers a negative one.
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
