// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Slowing down a guest that writes faster than the channels carry: `auto-converge`.

/// How much of the vCPUs' time is taken away, and when. All in percent, with the names and defaults
/// of QEMU's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AutoConverge {
    /// `throttle-trigger-threshold`: the guest is throttled when twice in a row it wrote more than
    /// this share of what was sent.
    pub trigger_threshold: u8,
    /// `cpu-throttle-initial`.
    pub initial: u8,
    /// `cpu-throttle-increment`.
    pub increment: u8,
    /// `cpu-throttle-tailslow`: take no more away than the guest has to lose for its writes to come
    /// under the threshold.
    pub tail_slow: bool,
    /// `max-cpu-throttle`.
    pub max: u8,
}

impl Default for AutoConverge {
    fn default() -> Self {
        Self {
            trigger_threshold: 50,
            initial: 20,
            increment: 10,
            tail_slow: false,
            max: 99,
        }
    }
}

/// The throttle of one migration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Throttle {
    settings: AutoConverge,
    percent: u8,
    /// How many passes in a row were above the threshold.
    high: u8,
}

impl Throttle {
    pub(super) fn new(settings: AutoConverge) -> Self {
        Self {
            settings,
            percent: 0,
            high: 0,
        }
    }

    /// Takes note of a pass, in bytes of guest memory; returns the new percentage if it changes.
    pub(super) fn passed(&mut self, dirtied: u64, sent: u64) -> Option<u8> {
        let allowed = sent as f64 * f64::from(self.settings.trigger_threshold) / 100.0;
        if dirtied as f64 <= allowed {
            self.high = 0;
            return None;
        }
        self.high += 1;
        if self.high < 2 {
            return None;
        }
        self.high = 0;
        let step = match self.percent {
            0 => self.settings.initial,
            _ if self.settings.tail_slow => self.needed(allowed / dirtied as f64),
            _ => self.settings.increment,
        };
        let percent = self.percent.saturating_add(step).min(self.settings.max);
        let changed = percent != self.percent;
        self.percent = percent;
        changed.then_some(percent)
    }

    /// The increment, or less if the guest would then write `share` of what it does now.
    fn needed(&self, share: f64) -> u8 {
        let left = f64::from(100 - self.percent.min(100));
        let too_much = left * (1.0 - share);
        // Between 0 and 100.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of 100 percent, rounded"
        )]
        let needed = too_much.ceil().clamp(0.0, 100.0) as u8;
        needed.min(self.settings.increment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_two_passes_in_a_row() {
        let mut throttle = Throttle::new(AutoConverge::default());
        assert_eq!(throttle.passed(51, 100), None);
        assert_eq!(throttle.passed(50, 100), None);
        assert_eq!(throttle.passed(51, 100), None);
        assert_eq!(throttle.passed(51, 100), Some(20));
        assert_eq!(throttle.passed(100, 100), None);
        assert_eq!(throttle.passed(100, 100), Some(30));
    }

    #[test]
    fn it_ends_at_the_most() {
        let mut throttle = Throttle::new(AutoConverge::default());
        let steps: Vec<u8> = (0..40).filter_map(|_| throttle.passed(9, 1)).collect();
        assert_eq!(steps, [20, 30, 40, 50, 60, 70, 80, 90, 99]);
    }

    #[test]
    fn the_tail_is_slow() {
        let mut throttle = Throttle::new(AutoConverge {
            tail_slow: true,
            ..AutoConverge::default()
        });
        let mut twice = |dirtied| {
            assert_eq!(throttle.passed(dirtied, 1000), None);
            throttle.passed(dirtied, 1000)
        };
        assert_eq!(twice(2000), Some(20));
        assert_eq!(twice(2000), Some(30));
        // 5 % above the threshold of 500: of 70 % that are left, 3.3 % are too much.
        assert_eq!(twice(525), Some(34));
    }
}
