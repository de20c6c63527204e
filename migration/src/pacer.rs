//! Keeping a migration to its bandwidth.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use multifd_core::{AbortHandle, Error, Monitor, Sender};

use crate::source::SourceHandle;

/// Holds back the thread that queues pages, so that all channels together send at most so many
/// bytes per second. The channels' threads never sleep.
#[derive(Debug)]
pub(crate) struct Pacer {
    handle: SourceHandle,
    state: Cell<Pace>,
    monitor: Monitor,
    abort: AbortHandle,
}

/// A limit, and since when it holds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    limit: Option<NonZeroU64>,
    start: Instant,
    start_bytes: u64,
}

impl Pacer {
    /// A pacer that counts from now on, with the limit that the handle says.
    pub(crate) fn new(sender: &Sender, handle: SourceHandle) -> Self {
        let monitor = sender.monitor();
        let pace = Pace {
            limit: handle.tuning().max_bandwidth,
            start: Instant::now(),
            start_bytes: monitor.wire_bytes(),
        };
        Self {
            handle,
            state: Cell::new(pace),
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
            self.abort.sleep(early.min(LONGEST_SLEEP))?;
        }
        Ok(())
    }

    /// How much too early the next packet is, if that is worth a sleep.
    fn early(&self, sender: &Sender) -> Option<Duration> {
        let pace = self.pace();
        // Exact up to 2^53 bytes per second, which no link has.
        let bytes_per_second = pace.limit?.get() as f64;
        let planned = self.planned_bytes(sender, pace.start_bytes);
        let due = pace.start + Duration::from_secs_f64(planned / bytes_per_second);
        let early = due.saturating_duration_since(Instant::now());
        (early >= SHORTEST_SLEEP).then_some(early)
    }

    /// The limit that holds now; a new one counts from now on.
    fn pace(&self) -> Pace {
        let limit = self.handle.tuning().max_bandwidth;
        let pace = self.state.get();
        if pace.limit == limit {
            return pace;
        }
        let pace = Pace {
            limit,
            start: Instant::now(),
            start_bytes: self.monitor.wire_bytes(),
        };
        self.state.set(pace);
        pace
    }

    /// Bytes that are on the wire once everything queued so far is sent: what is in flight counts
    /// at the ratio that the method has reached so far.
    fn planned_bytes(&self, sender: &Sender, start_bytes: u64) -> f64 {
        let total = self.monitor.total();
        let ratio = if total.guest_bytes == 0 {
            1.0
        } else {
            total.wire_bytes as f64 / total.guest_bytes as f64
        };
        let sent = total.wire_bytes.saturating_sub(start_bytes) as f64;
        sent + sender.in_flight_bytes() as f64 * ratio.min(1.0)
    }
}

/// Sleeps shorter than this cost more than they pace.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// What is in flight changes meanwhile: look again.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
