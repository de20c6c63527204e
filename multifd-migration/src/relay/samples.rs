// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What had been passed on a moment ago, so that there are rates.

use std::time::{Duration, Instant};

use multifd_core::MigrationStats;

/// What has been passed on.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed {
    pub(super) main_bytes: u64,
    pub(super) main_zero_pages: u64,
    pub(super) incoming: MigrationStats,
    pub(super) outgoing: MigrationStats,
}

/// What had been passed on at some moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) passed: Passed,
}

impl Passed {
    /// Pages, on whatever channel.
    pub(super) fn pages(&self) -> u64 {
        let total = self.outgoing.total();
        total.normal_pages + total.zero_pages + self.main_zero_pages
    }
}

/// The last two samples, between one and two [periods](PERIOD) old.
#[derive(Debug, Default)]
pub(super) struct Samples {
    older: Option<Sample>,
    newer: Option<Sample>,
}

impl Samples {
    /// Whether it is time for another one.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        let newer = self.newer.as_ref();
        newer.is_none_or(|newer| now.saturating_duration_since(newer.at) >= PERIOD)
    }

    pub(super) fn add(&mut self, sample: Sample) {
        self.older = self.newer.replace(sample);
    }

    /// The one that rates are made out from.
    pub(super) fn reference(&self) -> Option<&Sample> {
        self.older.as_ref().or(self.newer.as_ref())
    }
}

const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, main_bytes: u64) -> Sample {
        let passed = Passed {
            main_bytes,
            ..Passed::default()
        };
        Sample { at, passed }
    }

    #[test]
    fn rates_are_over_the_last_seconds() {
        let (start, mut samples) = (Instant::now(), Samples::default());
        assert!(samples.are_due(start));
        assert!(samples.reference().is_none());
        for second in 0..4 {
            let at = start + second * PERIOD;
            assert!(samples.are_due(at));
            samples.add(sample(at, second.into()));
            assert!(!samples.are_due(at + PERIOD / 2));
            let reference = samples.reference().unwrap().passed.main_bytes;
            assert_eq!(reference, u64::from(second.saturating_sub(1)));
        }
    }
}
