// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A running migration, from other threads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{self as queue, select_biased};
use multifd_core::{AbortHandle, Error, Fault, MigrationStats, Monitor};
use parking_lot::Mutex;

use super::info::{MoreInfo, RamInfo, RoundInfo};
use super::{DownTime, MigrationInfo, Status, Tuning};
use crate::Work;
use crate::millis::millis;

/// Watches and steers a migration from any thread. Cheap to clone.
#[derive(Clone)]
pub struct SourceHandle {
    shared: Arc<Shared>,
}

struct Shared {
    abort: AbortHandle,
    monitor: Monitor,
    start: Instant,
    ram_bytes: u64,
    page_bytes: u64,
    /// Dirty pages that are not queued yet.
    remaining_pages: AtomicU64,
    main_bytes: AtomicU64,
    main_zero_pages: AtomicU64,
    tuning: Mutex<Tuning>,
    progress: Mutex<Progress>,
    proceed: (queue::Sender<()>, queue::Receiver<()>),
}

/// What only the migration's thread changes, but for a cancel.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub(super) status: Status,
    /// The destination may have everything from now on: too late to cancel.
    pub(super) committed: bool,
    pub(super) setup_time: Duration,
    /// Set at the end.
    pub(super) total_time: Option<Duration>,
    pub(super) down_time: Option<DownTime>,
    /// What it does before it confirms, as far as it has said so.
    pub(super) destination: Option<Work>,
    pub(super) expected_down_time: Option<Duration>,
    pub(super) expected_remaining: Option<Duration>,
    pub(super) throttle: u8,
    pub(super) error: Option<String>,
    pub(super) passes: u64,
    pub(super) dirty_pages_rate: f64,
    /// When the dirty log was fetched last, and what had been sent then.
    pub(super) last_pass: Sent,
    /// The last rounds that have ended.
    rounds: VecDeque<RoundInfo>,
}

impl Progress {
    /// A round has ended, when so much had been `sent`.
    pub(super) fn end_round(&mut self, sent: Sent, page_size: u64) {
        let last = std::mem::replace(&mut self.last_pass, sent);
        let guest_bytes = sent.pages.saturating_sub(last.pages) * page_size;
        let transferred = sent.bytes.saturating_sub(last.bytes);
        if guest_bytes == 0 {
            // The log was fetched twice in a row.
            return;
        }
        if self.rounds.len() == MoreInfo::MOST_ROUNDS {
            self.rounds.pop_front();
        }
        self.rounds.push_back(RoundInfo {
            round: self.passes,
            time: millis(sent.at.saturating_sub(last.at)),
            guest_bytes,
            transferred,
            ratio: guest_bytes as f64 / transferred.max(1) as f64,
        });
    }
}

/// What had been sent at some moment since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) bytes: u64,
    pub(super) pages: u64,
}

impl SourceHandle {
    pub(super) fn new(
        (abort, monitor): (AbortHandle, Monitor),
        (ram_bytes, page_bytes): (u64, u64),
        start: Instant,
        tuning: Tuning,
    ) -> Self {
        let shared = Shared {
            abort,
            monitor,
            start,
            ram_bytes,
            page_bytes,
            remaining_pages: AtomicU64::new(ram_bytes / page_bytes),
            main_bytes: AtomicU64::new(0),
            main_zero_pages: AtomicU64::new(0),
            tuning: Mutex::new(tuning),
            progress: Mutex::new(Progress::default()),
            proceed: queue::bounded(1),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Where the migration stands.
    pub fn status(&self) -> Status {
        self.shared.progress.lock().status
    }

    /// The migration in figures: QEMU's `query-migrate`.
    pub fn info(&self) -> MigrationInfo {
        let progress = self.shared.progress.lock().clone();
        let now = progress.total_time.unwrap_or_else(|| self.elapsed());
        let sent = self.sent_at(now);
        let total_time = now.saturating_sub(progress.setup_time);
        let (since, time) = match progress.total_time {
            Some(_) => (Sent::default(), total_time),
            None => (
                progress.last_pass,
                now.saturating_sub(progress.last_pass.at),
            ),
        };
        let seconds = time.as_secs_f64().max(1e-6);
        let stats = self.shared.monitor.stats();
        let channels = stats.total();
        let main_zero = self.shared.main_zero_pages.load(Ordering::Relaxed);
        let page_size = self.shared.page_bytes;
        let ram = RamInfo {
            transferred: sent.bytes,
            multifd_bytes: channels.wire_bytes,
            remaining: self.remaining_bytes(),
            total: self.shared.ram_bytes,
            normal: channels.normal_pages,
            normal_bytes: channels.normal_pages * page_size,
            duplicate: channels.zero_pages + main_zero,
            page_size,
            mbps: sent.bytes.saturating_sub(since.bytes) as f64 * 8e-6 / seconds,
            pages_per_second: sent.pages.saturating_sub(since.pages) as f64 / seconds,
            dirty_sync_count: progress.passes,
            dirty_pages_rate: progress.dirty_pages_rate,
        };
        let more = MoreInfo {
            ratio: (sent.pages * page_size) as f64 / sent.bytes.max(1) as f64,
            expected_remaining_time: progress.expected_remaining.map(millis),
            downtime_items: progress.down_time,
            destination: progress.destination,
            rounds: progress.rounds.into(),
            rungs: channels
                .rungs()
                .filter(|rung| rung.packets > 0)
                .copied()
                .collect(),
            channels: stats.channels,
        };
        MigrationInfo {
            status: progress.status,
            total_time: millis(now),
            setup_time: millis(progress.setup_time),
            downtime: progress.down_time.map(|time| millis(time.total())),
            expected_downtime: progress.expected_down_time.map(millis),
            cpu_throttle_percentage: Some(progress.throttle).filter(|percent| *percent > 0),
            error_desc: progress.error,
            ram,
            more,
        }
    }

    /// Cancels the migration: the guest is here as before, running if it ran. Returns at once, with `false` if it
    /// is too late, because the destination may have the guest, or because the migration has ended.
    ///
    /// This is the only way to end a source from outside: once the destination may run the guest, only its word or a
    /// time limit ends the migration.
    pub fn cancel(&self) -> bool {
        let mut progress = self.shared.progress.lock();
        if progress.committed || progress.status.is_final() {
            return false;
        }
        progress.status = Status::Cancelling;
        drop(progress);
        self.shared.abort.abort();
        true
    }

    /// Fails the migration because the guest's memory is no longer what was announced: a block or a slot was
    /// plugged, unplugged or resized. The guest runs on here. Returns at once, with `false` as
    /// [`Self::cancel`] does: then the memory must not change.
    pub fn memory_changed(&self) -> bool {
        let progress = self.shared.progress.lock();
        if progress.committed || progress.status.is_final() {
            return false;
        }
        let what = "the guest's memory map has changed since the migration began";
        self.shared.abort.fail(Error::new(Fault::Caller, what));
        true
    }

    /// Goes on in [`Status::PreSwitchover`]: QEMU's `migrate-continue`. Elsewhere it lets the
    /// migration go on as soon as it comes there.
    pub fn proceed(&self) {
        // If there is a message already, it says the same.
        let _ = self.shared.proceed.0.try_send(());
    }

    /// What may be changed while the migration runs.
    pub fn tuning(&self) -> Tuning {
        *self.shared.tuning.lock()
    }

    /// Changes it. Takes effect with the next packet, or the next fetch of the dirty log.
    pub fn tune(&self, tuning: Tuning) {
        *self.shared.tuning.lock() = tuning;
    }

    /// What the channels have sent so far, each and in all.
    pub fn stats(&self) -> MigrationStats {
        self.shared.monitor.stats()
    }

    /// The time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    pub(super) fn remaining_bytes(&self) -> u64 {
        self.shared.remaining_pages.load(Ordering::Relaxed) * self.shared.page_bytes
    }

    pub(super) fn set_remaining_pages(&self, pages: u64) {
        self.shared.remaining_pages.store(pages, Ordering::Relaxed);
    }

    pub(super) fn set_main(&self, bytes: u64, zero_pages: u64) {
        self.shared.main_bytes.store(bytes, Ordering::Relaxed);
        let counter = &self.shared.main_zero_pages;
        counter.store(zero_pages, Ordering::Relaxed);
    }

    /// Changes what the handle shows.
    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.shared.progress.lock());
    }

    /// From now on the destination may get everything, and a cancel is too late.
    ///
    /// # Errors
    /// It was cancelled or failed before.
    pub(super) fn commit(&self) -> Result<(), Error> {
        let mut progress = self.shared.progress.lock();
        if progress.status == Status::Cancelling {
            return Err(Error::aborted());
        }
        if let Some(error) = self.shared.abort.error() {
            return Err(error);
        }
        progress.committed = true;
        Ok(())
    }

    /// Waits for [`Self::proceed`].
    ///
    /// # Errors
    /// Why the migration ended meanwhile.
    pub(super) fn wait_proceed(&self) -> Result<(), Error> {
        let (over, woken) = queue::bounded(1);
        self.shared.abort.watch(Arc::new(super::Over(over)));
        select_biased! {
            recv(woken) -> _ => Err(self.shared.abort.error().unwrap_or_else(Error::aborted)),
            recv(self.shared.proceed.1) -> _ => Ok(()),
        }
    }

    /// What has been sent, for a later comparison.
    pub(super) fn sent(&self) -> Sent {
        self.sent_at(self.elapsed())
    }

    fn sent_at(&self, at: Duration) -> Sent {
        let total = self.shared.monitor.total();
        let main_zero = self.shared.main_zero_pages.load(Ordering::Relaxed);
        Sent {
            at,
            bytes: total.wire_bytes + self.shared.main_bytes.load(Ordering::Relaxed),
            pages: total.normal_pages + total.zero_pages + main_zero,
        }
    }
}

impl fmt::Debug for SourceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceHandle({})", self.status())
    }
}
