//! Noticing that nothing moves.

use std::time::{Duration, Instant};

/// Watches a count of bytes that has to change: a peer that is slow moves, one that hangs does not.
///
/// Whoever waits asks when its time is over, so that waiting costs nothing; a peer that stops is
/// noticed within twice the limit.
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

    /// How much longer the count may stay at what it is now; `None` if it has not moved for too long.
    pub fn left(&mut self, count: u64) -> Option<Duration> {
        if self.seen != Some(count) {
            self.seen = Some(count);
            return Some(self.restart());
        }
        self.limit.checked_sub(self.since.elapsed())
    }

    /// Gives the count all of its time again, for there is another reason that it stays, or another
    /// sign of life. Returns the limit.
    pub fn restart(&mut self) -> Duration {
        self.since = Instant::now();
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_has_all_of_its_time() {
        let limit = Duration::from_secs(3600);
        let mut stall = Stall::new(limit);
        assert_eq!(stall.left(0), Some(limit));
        assert!(stall.left(0).is_some_and(|left| left <= limit));
        assert_eq!(stall.left(1), Some(limit));
        assert_eq!(stall.restart(), limit);
    }

    #[test]
    fn what_does_not_is_noticed() {
        let mut stall = Stall::new(Duration::ZERO);
        assert_eq!(stall.left(7), Some(Duration::ZERO));
        // A clock may stand still for a moment, but not for ever.
        while stall.left(7).is_some() {}
        assert_eq!(stall.left(8), Some(Duration::ZERO));
    }

    #[test]
    fn without_a_limit_nothing_is() {
        let mut stall = Stall::new(Duration::MAX);
        stall.left(7);
        assert!(stall.left(7).is_some());
    }
}
