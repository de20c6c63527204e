//! Keeping a migration to its bandwidth.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use multifd_core::{AbortHandle, Error, Monitor, Sender};

/// Holds back the thread that queues pages, so that all channels together send at most so many
/// bytes per second. The channels' threads never sleep.
#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_second: f64,
    start: Instant,
    start_bytes: u64,
    monitor: Monitor,
    abort: AbortHandle,
}

impl Pacer {
    /// A pacer that counts from now on.
    pub(crate) fn new(bytes_per_second: NonZeroU64, sender: &Sender) -> Self {
        let monitor = sender.monitor();
        Self {
            // Exact up to 2^53 bytes per second, which no link has.
            bytes_per_second: bytes_per_second.get() as f64,
            start: Instant::now(),
            start_bytes: monitor.wire_bytes(),
            monitor,
            abort: sender.abort_handle(),
        }
    }

    /// Blocks until the next packet may be queued.
    ///
    /// # Errors
    /// The migration failed.
    pub(crate) fn wait(&self, sender: &Sender) -> Result<(), Error> {
        loop {
            let due = self.start
                + Duration::from_secs_f64(self.planned_bytes(sender) / self.bytes_per_second);
            let early = due.saturating_duration_since(Instant::now());
            if early < SHORTEST_SLEEP {
                return Ok(());
            }
            self.abort.sleep(early.min(LONGEST_SLEEP))?;
        }
    }

    /// Bytes that are on the wire once everything queued so far is sent: what is in flight counts
    /// at the ratio that the method has reached so far.
    fn planned_bytes(&self, sender: &Sender) -> f64 {
        let total = self.monitor.total();
        let ratio = if total.guest_bytes == 0 {
            1.0
        } else {
            total.wire_bytes as f64 / total.guest_bytes as f64
        };
        let sent = total.wire_bytes.saturating_sub(self.start_bytes) as f64;
        sent + sender.in_flight_bytes() as f64 * ratio.min(1.0)
    }
}

/// Sleeps shorter than this cost more than they pace.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);
/// What is in flight changes meanwhile: look again.
const LONGEST_SLEEP: Duration = Duration::from_millis(20);
