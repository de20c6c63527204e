//! Keeping the channels of a relay to a bandwidth.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crossbeam_channel::{self as queue};
use parking_lot::Mutex;

use crate::engine::control::Control;

/// A bandwidth that several channels share.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: f64,
    /// When what was let through so far has had its time.
    due: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            // Exact up to 2^53 bytes per second, which no link has.
            bytes_per_second: bytes_per_second.get() as f64,
            due: Mutex::new(Instant::now()),
        }
    }

    /// Counts bytes that were let through, and waits until they have had their time or the migration
    /// is over.
    pub(super) fn spend(&self, bytes: u64, control: &Control) {
        let due = self.book(bytes, Instant::now());
        let early = due.saturating_duration_since(Instant::now());
        if early > SHORTEST_WAIT {
            // Nothing is ever sent there: this ends with the time or with the migration.
            let _ = queue::Receiver::recv_timeout(control.woken(), early);
        }
    }

    /// Answers when the bytes have had their time. Time in which nothing came is lost, but for a bit.
    fn book(&self, bytes: u64, now: Instant) -> Instant {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        let mut due = self.due.lock();
        // Where the clock began less than that ago, nothing has been missed yet.
        let floor = now.checked_sub(CREDIT).unwrap_or(now);
        *due = (*due).max(floor) + cost;
        *due
    }
}

/// Waits shorter than this cost more than they pace.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// What a channel that had nothing to send may catch up with.
const CREDIT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_bytes_is_lost() {
        let pace = Pace::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now() + Duration::from_secs(10);
        // Ten seconds have passed since the pace was made, of which the credit counts.
        assert_eq!(
            pace.book(100, start),
            start + Duration::from_millis(100) - CREDIT
        );
        assert_eq!(
            pace.book(400, start),
            start + Duration::from_millis(500) - CREDIT
        );
        let later = start + Duration::from_millis(400);
        assert_eq!(
            pace.book(50, later),
            start + Duration::from_millis(550) - CREDIT
        );
    }
}
