// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Noticing that nothing moves.

use std::time::{Duration, Instant};

/// Watches a count that has to change: a peer that is slow moves, one that hangs does not.
///
/// Whoever waits looks again after [a moment](Self::tick), so a stall is noticed that moment after the limit,
/// not after twice the limit.
#[derive(Debug)]
pub struct Stall {
    limit: Duration,
    /// The count when it was asked for last.
    seen: Option<u64>,
    since: Instant,
}

impl Stall {
    /// Starts to watch. The count may stay as it is for as long as `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            seen: None,
            since: Instant::now(),
        }
    }

    /// How long the count may stay as it is.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// How long to wait before the count is looked at again, at most.
    pub fn tick(&self) -> Duration {
        (self.limit / PER_LIMIT).clamp(SHORTEST_TICK, LONGEST_TICK)
    }

    /// How long to wait before the count, which is `count` now, is looked at again; `None` if it has not moved
    /// for too long.
    pub fn left(&mut self, count: u64) -> Option<Duration> {
        self.left_at(count, Instant::now())
    }

    /// Gives the count all of its time again, for there is another reason that it stays, or another
    /// sign of life. Returns how long to wait before it is looked at again.
    pub fn restart(&mut self) -> Duration {
        self.since = Instant::now();
        self.tick().min(self.limit)
    }

    fn left_at(&mut self, count: u64, now: Instant) -> Option<Duration> {
        if self.seen.replace(count) != Some(count) {
            self.since = now;
        }
        let left = self.limit.checked_sub(now.duration_since(self.since))?;
        // A clock that stands still is waited for, too.
        (!left.is_zero() || self.since == now).then(|| left.min(self.tick()))
    }
}

/// How often a count is looked at before its limit is over.
const PER_LIMIT: u32 = 16;
const SHORTEST_TICK: Duration = Duration::from_millis(1);
const LONGEST_TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);
    const TICK: Duration = Duration::from_secs(1);

    /// Looks every tick at a count that moves at `moves`, in seconds; returns when it was given up.
    fn given_up(moves: &[u64]) -> u64 {
        let start = Instant::now();
        let mut stall = Stall::new(LIMIT);
        let mut seconds = 0;
        loop {
            let count = moves.iter().filter(|at| **at <= seconds).count();
            match stall.left_at(count as u64, start + Duration::from_secs(seconds)) {
                Some(left) => assert!(left <= TICK && !left.is_zero()),
                None => return seconds,
            }
            seconds += 1;
        }
    }

    #[test]
    fn the_limit_counts_from_the_last_movement() {
        assert_eq!(given_up(&[]), 60);
        assert_eq!(given_up(&[1]), 61);
        assert_eq!(given_up(&[59]), 119);
        assert_eq!(given_up(&[59, 118, 120, 140]), 200);
    }

    #[test]
    fn another_sign_of_life_counts_too() {
        let mut stall = Stall::new(LIMIT);
        assert_eq!(stall.left(0), Some(TICK));
        assert_eq!(stall.restart(), TICK);
        assert!(stall.left_at(0, stall.since + LIMIT - TICK).is_some());
        assert_eq!(stall.left_at(0, stall.since + LIMIT), None);
        assert_eq!(stall.left_at(1, stall.since + LIMIT), Some(TICK));
    }

    #[test]
    fn without_a_limit_nothing_is_noticed() {
        let mut stall = Stall::new(Duration::MAX);
        stall.left(7);
        assert_eq!(stall.left(7), Some(TICK));
    }

    #[test]
    fn without_any_time_it_is_noticed_at_once() {
        let mut stall = Stall::new(Duration::ZERO);
        stall.left(7);
        // A clock may stand still for a moment, but not for ever.
        while stall.left(7).is_some() {}
    }
}
