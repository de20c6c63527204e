// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long things stay in a relay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long something took, each of many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delay {
    /// How many times.
    pub count: u64,
    /// All times together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
    /// The last.
    pub last: Duration,
}

impl Delay {
    /// The mean; zero if there is none.
    pub fn mean(&self) -> Duration {
        if self.count == 0 {
            return Duration::ZERO;
        }
        self.total.div_f64(self.count as f64)
    }
}

/// The counters behind [`Delay`]: written by any thread, read by any.
#[derive(Debug, Default)]
pub(super) struct DelayCounters {
    count: AtomicU64,
    total_nanos: AtomicU64,
    longest_nanos: AtomicU64,
    last_nanos: AtomicU64,
}

impl DelayCounters {
    pub(super) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
        self.last_nanos.store(nanos, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Delay {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        Delay {
            count: self.count.load(Ordering::Relaxed),
            total: time(&self.total_nanos),
            longest: time(&self.longest_nanos),
            last: time(&self.last_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up() {
        let counters = DelayCounters::default();
        assert_eq!(counters.read().mean(), Duration::ZERO);
        for millis in [3, 7, 2] {
            counters.add(Duration::from_millis(millis));
        }
        let delay = counters.read();
        assert_eq!(delay.mean(), Duration::from_millis(4));
        assert_eq!(delay.longest, Duration::from_millis(7));
        assert_eq!(delay.last, Duration::from_millis(2));
    }
}
