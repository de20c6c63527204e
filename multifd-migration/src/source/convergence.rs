// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether what is left can be sent within the downtime.
//!
//! All figures are bytes of guest memory, not of the wire: what the guest makes dirty and what the
//! channels carry can be compared only so. Zero pages are left out of the rate, for the pages that a
//! guest makes dirty again and again are seldom zero.

use std::num::NonZeroU64;
use std::time::Duration;

/// What a source knows of its own speed, from one fetch of the dirty log to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Convergence {
    /// Bytes of guest memory per second, as last measured.
    guest_rate: Option<f64>,
    /// Bytes of guest memory per byte on the wire.
    ratio: f64,
    /// The last fetch of the dirty log: the guest will wait for one more.
    fetch: Duration,
    /// The passes since the rate was measured: too short so far to say anything.
    short: Option<Pass>,
    /// Bytes that were dirty after the last round.
    left: Option<u64>,
}

/// What has happened between two fetches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// How long it took.
    pub(super) time: Duration,
    /// Bytes of pages sent with content.
    pub(super) normal_bytes: u64,
    /// Bytes on the channels.
    pub(super) wire_bytes: u64,
    /// How long the second fetch took.
    pub(super) fetch: Duration,
}

/// What the guest's downtime may be, and what is known about the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tuning {
    /// `downtime-limit`: the guest is paused once what is left can be sent in this time. 300 ms by
    /// default.
    pub downtime_limit: Duration,
    /// `max-bandwidth`: bytes per second over all channels together while the guest runs; `None` is
    /// unlimited. It does not hold while the guest is paused.
    pub max_bandwidth: Option<NonZeroU64>,
    /// `avail-switchover-bandwidth`: bytes per second that the link has for the last pages; `None`
    /// counts on what was measured.
    pub avail_switchover_bandwidth: Option<NonZeroU64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            downtime_limit: Duration::from_millis(300),
            max_bandwidth: None,
            avail_switchover_bandwidth: None,
        }
    }
}

impl Convergence {
    /// Takes note of a pass.
    pub(super) fn passed(&mut self, pass: &Pass) {
        self.fetch = pass.fetch;
        if pass.normal_bytes == 0 {
            return;
        }
        let since = self.short.map_or(*pass, |short| short.and(pass));
        if self.guest_rate.is_some() && !since.says_enough() {
            self.short = Some(since);
            return;
        }
        self.short = None;
        let seconds = since.time.as_secs_f64().max(1e-6);
        self.guest_rate = Some(since.normal_bytes as f64 / seconds);
        self.ratio = since.normal_bytes as f64 / since.wire_bytes.max(1) as f64;
    }

    /// How long the guest would stand still if it were paused now with `remaining` dirty bytes;
    /// `None` if nothing was measured yet.
    pub(super) fn expected_down_time(&self, remaining: u64, tuning: &Tuning) -> Option<Duration> {
        let memory = self.time_to_send(remaining, tuning)?;
        Some(memory.saturating_add(self.fetch))
    }

    /// How long `remaining` dirty bytes take.
    pub(super) fn time_to_send(&self, remaining: u64, tuning: &Tuning) -> Option<Duration> {
        if remaining == 0 {
            return Some(Duration::ZERO);
        }
        let measured = self.guest_rate?;
        let rate = match tuning.avail_switchover_bandwidth {
            Some(wire) => wire.get() as f64 * self.ratio,
            None => measured,
        };
        Some(Duration::try_from_secs_f64(remaining as f64 / rate).unwrap_or(Duration::MAX))
    }

    /// Whether to pause the guest now.
    ///
    /// No round makes the fetch of the dirty log shorter. So under a limit that even the fetch is longer than, it is
    /// time as soon as what is left takes next to nothing: 0 stands for as short as can be.
    pub(super) fn is_time(&self, remaining: u64, tuning: &Tuning) -> bool {
        let limit = tuning.downtime_limit;
        let Some(memory) = self.time_to_send(remaining, tuning) else {
            return false;
        };
        memory.saturating_add(self.fetch) <= limit || limit <= self.fetch && memory <= SHORT
    }

    /// Takes note of what is dirty after a round. Returns whether one round more is likely to make the
    /// downtime much shorter although it is short enough: while each halves what is left, all of them
    /// together take no longer than the first one twice.
    pub(super) fn is_worth_a_round(&mut self, remaining: u64, tuning: &Tuning) -> bool {
        let before = self.left.replace(remaining);
        let halves = before.is_none_or(|before| remaining <= before / 2);
        let time = self.time_to_send(remaining, tuning);
        halves && time.is_some_and(|time| time > SHORT)
    }
}

impl Pass {
    /// This one and the next one together.
    fn and(&self, next: &Self) -> Self {
        Self {
            time: self.time.saturating_add(next.time),
            normal_bytes: self.normal_bytes.saturating_add(next.normal_bytes),
            wire_bytes: self.wire_bytes.saturating_add(next.wire_bytes),
            fetch: next.fetch,
        }
    }

    /// Whether the rate can be told from it.
    fn says_enough(&self) -> bool {
        let (bytes, time) = (self.normal_bytes, self.time);
        bytes >= ENOUGH_BYTES || bytes >= SOME_BYTES && time >= ENOUGH_TIME
    }
}

/// A pass that sent less says little about the rate: most of its time went by at its ends. Several of them
/// say as much together, so that no rate stays that was measured in an evil moment.
const ENOUGH_BYTES: u64 = 4 << 20;
/// Enough on a link that takes [`ENOUGH_TIME`] for it.
const SOME_BYTES: u64 = 256 << 10;
/// See [`SOME_BYTES`].
const ENOUGH_TIME: Duration = Duration::from_secs(1);
/// What is left may well be sent while the guest is paused if that takes no longer: pause and devices take
/// as long.
const SHORT: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: Pass = Pass {
        time: Duration::from_secs(1),
        normal_bytes: 1 << 30,
        wire_bytes: 1 << 28,
        fetch: Duration::from_millis(50),
    };

    #[test]
    fn fixed_costs_count() {
        let mut convergence = Convergence::default();
        assert_eq!(
            convergence.expected_down_time(4096, &Tuning::default()),
            None
        );
        assert!(convergence.is_time(0, &Tuning::default()));
        convergence.passed(&PASS);
        let quarter = 1 << 28;
        assert_eq!(
            convergence.expected_down_time(quarter, &Tuning::default()),
            Some(Duration::from_millis(300))
        );
        assert!(convergence.is_time(quarter, &Tuning::default()));
        assert!(!convergence.is_time(quarter + (8 << 20), &Tuning::default()));
    }

    #[test]
    fn a_limit_that_cannot_be_met_is_as_short_as_can_be() {
        let mut convergence = Convergence::default();
        convergence.passed(&PASS);
        for limit in [Duration::ZERO, Duration::from_millis(1), PASS.fetch] {
            let tuning = Tuning {
                downtime_limit: limit,
                ..Tuning::default()
            };
            // At 2^30 bytes per second.
            assert!(convergence.is_time(0, &tuning), "{limit:?}");
            assert!(convergence.is_time(5 << 20, &tuning), "{limit:?}");
            assert!(!convergence.is_time(6 << 20, &tuning), "{limit:?}");
        }
    }

    #[test]
    fn the_given_bandwidth_counts_at_the_ratio() {
        let mut convergence = Convergence::default();
        convergence.passed(&PASS);
        let tuning = Tuning {
            avail_switchover_bandwidth: NonZeroU64::new(1 << 29),
            ..Tuning::default()
        };
        // 2^29 bytes on the wire are 2^31 bytes of the guest.
        assert_eq!(
            convergence.time_to_send(1 << 30, &tuning),
            Some(Duration::from_millis(500))
        );
    }

    #[test]
    fn a_short_pass_does_not_spoil_the_rate() {
        let mut convergence = Convergence::default();
        convergence.passed(&PASS);
        convergence.passed(&Pass {
            time: Duration::from_millis(10),
            normal_bytes: 4096,
            ..PASS
        });
        let time = convergence.time_to_send(1 << 30, &Tuning::default());
        assert_eq!(time, Some(Duration::from_secs(1)));
    }

    #[test]
    fn rounds_go_on_while_each_halves_what_is_left() {
        let mut convergence = Convergence::default();
        convergence.passed(&PASS);
        let mut worth = |remaining| convergence.is_worth_a_round(remaining, &Tuning::default());
        // At 2^30 bytes per second.
        assert!(worth(1 << 27));
        assert!(worth(1 << 26));
        assert!(!worth((1 << 25) + 1), "not halved");
        assert!(worth(1 << 24));
        assert!(!worth(5 << 20), "less than 5 ms");
        assert!(!worth(6 << 20), "more than before");
    }

    #[test]
    fn short_passes_count_together() {
        let mut convergence = Convergence::default();
        let mut pass = Pass {
            time: Duration::from_secs(1),
            normal_bytes: 1 << 20,
            wire_bytes: 1 << 20,
            ..PASS
        };
        // The first pass was slow, and no later one is long.
        convergence.passed(&pass);
        pass.time = Duration::from_millis(125);
        for number in 0..4 {
            let slow = Some(Duration::from_secs(1));
            let time = convergence.time_to_send(1 << 20, &Tuning::default());
            assert_eq!(time, slow, "{number}");
            convergence.passed(&pass);
        }
        let time = convergence.time_to_send(1 << 20, &Tuning::default());
        assert_eq!(time, Some(Duration::from_millis(125)));
    }
}
