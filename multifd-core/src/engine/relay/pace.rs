// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Keeping the channels of a relay to a bandwidth.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::select_biased;
use parking_lot::Mutex;

use crate::engine::control::{Control, Gate};

/// The bandwidth of one side of a relay, which may be changed from any thread while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bandwidth(pub(super) Arc<Pace>);

impl Bandwidth {
    pub(super) fn new(limit: Option<NonZeroU64>) -> Self {
        Self(Arc::new(Pace::new(limit)))
    }

    /// Most bytes per second, on all channels together; `None` is unlimited.
    pub fn limit(&self) -> Option<NonZeroU64> {
        self.0.limit()
    }

    /// Changes it. Takes effect at once: what has been let through by then counts no more.
    pub fn set_limit(&self, limit: Option<NonZeroU64>) {
        self.0.set_limit(limit);
    }

    /// Whether a channel waits now because there is a limit.
    pub fn is_holding(&self) -> bool {
        self.0.holding.load(Ordering::Relaxed) > 0
    }
}

/// A bandwidth that several channels share.
#[derive(Debug)]
pub(super) struct Pace {
    /// 0 is unlimited.
    bytes_per_second: AtomicU64,
    course: Mutex<Course>,
    /// How many channels wait.
    holding: AtomicUsize,
}

#[derive(Debug)]
struct Course {
    /// When what was let through so far has had its time.
    due: Instant,
    /// Opens when the bandwidth is another one.
    changed: Arc<Gate>,
}

impl Pace {
    fn new(limit: Option<NonZeroU64>) -> Self {
        Self {
            bytes_per_second: AtomicU64::new(limit.map_or(0, NonZeroU64::get)),
            course: Mutex::new(Course {
                due: Instant::now(),
                changed: Arc::new(Gate::new()),
            }),
            holding: AtomicUsize::new(0),
        }
    }

    fn limit(&self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.bytes_per_second.load(Ordering::Relaxed))
    }

    fn set_limit(&self, limit: Option<NonZeroU64>) {
        let mut course = self.course.lock();
        let limit = limit.map_or(0, NonZeroU64::get);
        self.bytes_per_second.store(limit, Ordering::Relaxed);
        course.due = Instant::now();
        std::mem::replace(&mut course.changed, Arc::new(Gate::new())).open();
    }

    /// Counts bytes that were let through, and waits until they have had their time, the bandwidth is another one, or
    /// the migration is over.
    pub(super) fn spend(&self, bytes: u64, control: &Control) {
        if self.limit().is_none() {
            return;
        }
        let Some((due, changed)) = self.book(bytes, Instant::now()) else {
            return;
        };
        let early = due.saturating_duration_since(Instant::now());
        if early <= SHORTEST_WAIT {
            return;
        }
        self.holding.fetch_add(1, Ordering::Relaxed);
        select_biased! {
            recv(control.woken()) -> _ => {}
            recv(changed.opened()) -> _ => {}
            default(early) => {}
        }
        self.holding.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns when the bytes have had their time, and what opens if that changes; `None` without a limit. Time in
    /// which nothing came is lost, but for a bit.
    fn book(&self, bytes: u64, now: Instant) -> Option<(Instant, Arc<Gate>)> {
        let mut course = self.course.lock();
        // Exact up to 2^53 bytes per second, which no link has.
        let limit = self.limit()?.get() as f64;
        let cost = Duration::from_secs_f64(bytes as f64 / limit);
        // Where the clock began less than that ago, nothing has been missed yet.
        let floor = now.checked_sub(CREDIT).unwrap_or(now);
        course.due = course.due.max(floor) + cost;
        Some((course.due, Arc::clone(&course.changed)))
    }
}

/// Waits shorter than this cost more than they pace.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// What a channel that had nothing to send may catch up with.
const CREDIT: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const SLOW: Option<NonZeroU64> = NonZeroU64::new(1000);

    #[test]
    fn time_without_bytes_is_lost() {
        let pace = Pace::new(SLOW);
        let start = Instant::now() + Duration::from_secs(10);
        let book = |bytes, now| pace.book(bytes, now).map(|(due, _)| due).unwrap();
        // Ten seconds have passed since the pace was made, of which the credit counts.
        assert_eq!(
            book(100, start),
            start + Duration::from_millis(100) - CREDIT
        );
        assert_eq!(
            book(400, start),
            start + Duration::from_millis(500) - CREDIT
        );
        let later = start + Duration::from_millis(400);
        assert_eq!(book(50, later), start + Duration::from_millis(550) - CREDIT);
    }

    /// A wait of eleven days ends when there is no limit any more, and when there is another one.
    #[test]
    fn a_change_frees_whoever_waits() {
        for limit in [None, NonZeroU64::new(u64::MAX), SLOW] {
            let (bandwidth, control) = (Bandwidth::new(SLOW), Control::new());
            thread::scope(|scope| {
                let waiting = scope.spawn(|| bandwidth.0.spend(1_000_000_000, &control));
                while !bandwidth.is_holding() {
                    thread::yield_now();
                }
                bandwidth.set_limit(limit);
                waiting.join().unwrap();
            });
            assert_eq!(bandwidth.limit(), limit);
            assert!(!bandwidth.is_holding());
        }
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let pace = Pace::new(None);
        assert!(pace.book(u64::MAX, Instant::now()).is_none());
        pace.set_limit(SLOW);
        let (due, _) = pace.book(0, Instant::now()).unwrap();
        assert!(due <= Instant::now());
    }
}
