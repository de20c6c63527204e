// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Keeping a migration to its bandwidth.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use multifd_core::{AbortHandle, Error, Monitor, Sender};

use super::SourceHandle;

/// Holds back the thread that queues pages, so that all channels together send at most so many
/// bytes per second. The channels' threads never sleep.
#[derive(Debug)]
pub(crate) struct Pacer {
    handle: SourceHandle,
    allowance: Cell<Allowance>,
    monitor: Monitor,
    abort: AbortHandle,
}

/// A limit, and since when it holds.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    limit: Option<NonZeroU64>,
    start: Instant,
    /// What had been sent and queued then.
    start_bytes: f64,
}

impl Pacer {
    /// A pacer that counts from now on, with the limit that the handle says.
    pub(crate) fn new(sender: &Sender, handle: SourceHandle) -> Self {
        let (limit, monitor) = (handle.tuning().max_bandwidth, sender.monitor());
        let allowance = Allowance::new(limit, queued_bytes(&monitor, sender));
        Self {
            handle,
            allowance: Cell::new(allowance),
            monitor,
            abort: sender.abort_handle(),
        }
    }

    /// Blocks until the next packet may be queued.
    ///
    /// # Errors
    /// The migration failed.
    pub(crate) fn wait(&self, sender: &Sender) -> Result<(), Error> {
        while let Some(early) = self.early(sender) {
            let start = Instant::now();
            self.abort.sleep(early.min(LONGEST_SLEEP))?;
            sender.held_back(start.elapsed());
        }
        Ok(())
    }

    /// How much too early the next packet is, if that is worth a sleep.
    fn early(&self, sender: &Sender) -> Option<Duration> {
        let limit = self.handle.tuning().max_bandwidth;
        let mut allowance = self.allowance.get();
        if limit.is_none() && allowance.limit.is_none() {
            return None;
        }
        let queued = queued_bytes(&self.monitor, sender);
        if allowance.limit != limit {
            allowance = Allowance::new(limit, queued);
            self.allowance.set(allowance);
        }
        allowance.early(queued, Instant::now())
    }
}

impl Allowance {
    /// From now on: what is queued by now has had its time.
    fn new(limit: Option<NonZeroU64>, queued: f64) -> Self {
        Self {
            limit,
            start: Instant::now(),
            start_bytes: queued,
        }
    }

    /// How much too early the next packet is at `now`, if that is worth a sleep.
    fn early(&self, queued: f64, now: Instant) -> Option<Duration> {
        // Exact up to 2^53 bytes per second, which no link has.
        let bytes_per_second = self.limit?.get() as f64;
        let planned = (queued - self.start_bytes).max(0.0);
        let due = self.start + Duration::from_secs_f64(planned / bytes_per_second);
        let early = due.saturating_duration_since(now);
        (early >= SHORTEST_SLEEP).then_some(early)
    }
}

/// Bytes that are on the wire once everything queued so far is sent: what is in flight counts at the
/// ratio that the method has reached so far.
fn queued_bytes(monitor: &Monitor, sender: &Sender) -> f64 {
    let total = monitor.total();
    let ratio = if total.guest_bytes == 0 {
        1.0
    } else {
        total.wire_bytes as f64 / total.guest_bytes as f64
    };
    total.wire_bytes as f64 + sender.in_flight_bytes() as f64 * ratio.min(1.0)
}

/// Sleeps shorter than this cost more than they pace.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// What is in flight changes meanwhile: look again.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_queued_before_is_not_paid_twice() {
        let allowance = Allowance::new(NonZeroU64::new(1 << 20), 3e6);
        let after = |millis| allowance.start + Duration::from_millis(millis);
        assert_eq!(allowance.early(3e6, after(0)), None);
        let second = f64::from(1 << 20);
        assert_eq!(
            allowance.early(3e6 + second, after(0)),
            Some(Duration::from_secs(1))
        );
        assert_eq!(
            allowance.early(3e6 + second, after(900)),
            Some(Duration::from_millis(100))
        );
        assert_eq!(allowance.early(3e6 + second, after(1000)), None);
        // The method has done better than it was believed to.
        assert_eq!(allowance.early(2e6, after(0)), None);
    }

    #[test]
    fn without_a_limit_nothing_is_early() {
        assert_eq!(Allowance::new(None, 0.0).early(1e12, Instant::now()), None);
    }
}
