// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration that is passed on, from other threads.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use multifd_core::engine::{Backlog, Bandwidth};
use multifd_core::{AbortHandle, Error, Fault, Forwarder, MigrationStats, Monitor, PageSize};
use parking_lot::Mutex;

use super::info::{End, RelayInfo, RelayRamInfo, RelaySideInfo, Window};
use super::link::Link;
use super::samples::{Passed, Sample, Samples};
use super::{Phase, WaitsFor};
use crate::Work;
use crate::millis::millis;

/// Watches and steers a migration that a [`Relay`](super::Relay) passes on, from any thread. Cheap to clone; what it
/// answers after the end is how it ended.
#[derive(Clone)]
pub struct RelayHandle {
    shared: Arc<Shared>,
}

struct Shared {
    abort: AbortHandle,
    incoming: Monitor,
    bandwidth: Bandwidth,
    /// Once there are connections to the destination.
    passing: OnceLock<Passing>,
    main_zero_pages: AtomicU64,
    course: Mutex<Course>,
    samples: Mutex<Samples>,
}

/// What there is once both sides are connected.
pub(super) struct Passing {
    pub(super) outgoing: Monitor,
    pub(super) backlog: Backlog,
    pub(super) link: Arc<Link>,
}

/// What changes a few times in a migration.
#[derive(Clone, Default)]
struct Course {
    phase: Phase,
    /// While connections are made: to whom.
    connecting: Option<WaitsFor>,
    /// All memory is being passed on: too late to cancel.
    committed: bool,
    machine: Option<String>,
    page_size: Option<PageSize>,
    ram_bytes: Option<u64>,
    /// When the source's main connection was known, when memory began, and the end.
    start: Option<Instant>,
    memory: Option<Instant>,
    end: Option<Instant>,
    error: Option<String>,
    destination: Option<Work>,
    is_at_barrier: bool,
    /// Pages that had been passed on at the last barrier.
    pages_at_barrier: u64,
}

impl RelayHandle {
    pub(super) fn new(forwarder: &Forwarder) -> Self {
        let shared = Shared {
            abort: forwarder.abort_handle(),
            incoming: forwarder.incoming(),
            bandwidth: forwarder.send_bandwidth(),
            passing: OnceLock::new(),
            main_zero_pages: AtomicU64::new(0),
            course: Mutex::default(),
            samples: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Where the migration stands.
    pub fn phase(&self) -> Phase {
        self.shared.course.lock().phase
    }

    /// The migration in figures.
    pub fn info(&self) -> RelayInfo {
        let course = self.shared.course.lock().clone();
        let now = course.end.unwrap_or_else(Instant::now);
        let since = |moment: Option<Instant>| {
            moment.map_or(Duration::ZERO, |moment| {
                now.saturating_duration_since(moment)
            })
        };
        let passed = self.passed();
        let page_size = course.page_size.unwrap_or_default().bytes_u64();
        let guest_bytes = passed.pages() * page_size;
        let waits_for = self.waits_for(&course);
        let sample = self.reference(&course, now);
        let window = |last| Window {
            time: now.saturating_duration_since(sample.at),
            last,
            waits_for,
        };
        let last = &sample.passed;
        let main = (passed.main_bytes, last.main_bytes);
        let [incoming, outgoing] = [window(&last.incoming), window(&last.outgoing)];
        let zero = (passed.main_zero_pages, page_size);
        let side_in = RelaySideInfo::new(End::In, &passed.incoming, main, zero, &incoming);
        let side_out = RelaySideInfo::new(End::Out, &passed.outgoing, main, zero, &outgoing);
        let pages = passed.pages().saturating_sub(last.pages());
        let pages_per_second = outgoing.per_second(pages as f64);
        let remaining = course
            .ram_bytes
            .and_then(|all| all.checked_sub(guest_bytes));
        let remaining = remaining.filter(|left| course.phase == Phase::Memory && *left > 0);
        let expected = remaining.map(|left| left as f64 / page_size as f64 / pages_per_second);
        let expected = expected.and_then(|left| Duration::try_from_secs_f64(left).ok());
        let backlog = self.shared.passing.get().map(|onward| &onward.backlog);
        let since_barrier = passed.pages().saturating_sub(course.pages_at_barrier);
        RelayInfo {
            phase: course.phase,
            waits_for,
            destination: course.destination,
            error_desc: course.error.clone(),
            machine: course.machine.clone(),
            total_time: millis(since(course.start)),
            expected_remaining_time: expected.map(millis),
            max_bandwidth: self.max_bandwidth().map_or(0, NonZeroU64::get),
            ram: RelayRamInfo {
                total: course.ram_bytes,
                page_size: course.page_size.map(PageSize::bytes_u64),
                guest_bytes,
                remaining,
                barriers: backlog.map_or(0, Backlog::barriers),
                since_barrier: since_barrier * page_size,
                pages_per_second,
            },
            main_bytes: passed.main_bytes,
            waiting_packets: backlog.map_or(0, Backlog::packets),
            packet_delay: backlog.map_or(0.0, |backlog| millis(backlog.delay().mean())),
            r#in: side_in,
            out: side_out,
        }
    }

    /// Cancels the migration: the source is told, and its guest runs on there. The reason is in the error of
    /// [`Relay::run`](super::Relay::run). Returns at once, with `false` if it is too late, because the destination may
    /// get all of the guest, or because the migration has ended. From then on the source knows better.
    pub fn cancel(&self, reason: &str) -> bool {
        let course = self.shared.course.lock();
        let has_failed = self.shared.abort.error().is_some();
        if course.committed || course.phase.is_final() || has_failed {
            return false;
        }
        let what = format!("the migration was cancelled: {reason}");
        self.shared.abort.fail(Error::new(Fault::Aborted, what));
        true
    }

    /// Most bytes per second to the destination's channels, all together; `None` is unlimited.
    pub fn max_bandwidth(&self) -> Option<NonZeroU64> {
        self.shared.bandwidth.limit()
    }

    /// Changes it, also before there are any channels.
    pub fn set_max_bandwidth(&self, limit: Option<NonZeroU64>) {
        self.shared.bandwidth.set_limit(limit);
    }

    /// The source's main connection is known.
    pub(super) fn begin(&self, start: Instant) {
        self.shared.course.lock().start = Some(start);
    }

    /// Connections are being made to the destination, or are there.
    pub(super) fn set_connecting(&self, is_connecting: bool) {
        let to = is_connecting.then_some(WaitsFor::Destination);
        self.shared.course.lock().connecting = to;
    }

    /// Both sides are connected.
    pub(super) fn set_passing(&self, passing: Passing) {
        // It is said once.
        let _ = self.shared.passing.set(passing);
    }

    pub(super) fn set_machine(&self, machine: &str, page_size: PageSize) {
        let mut course = self.shared.course.lock();
        course.machine = Some(machine.to_owned());
        course.page_size = Some(page_size);
    }

    /// The source has announced so much memory.
    pub(super) fn set_memory(&self, bytes: u64) {
        let mut course = self.shared.course.lock();
        course.phase = Phase::Memory;
        course.ram_bytes = Some(bytes);
        course.memory = Some(Instant::now());
    }

    pub(super) fn set_switchover(&self) {
        let mut course = self.shared.course.lock();
        if course.phase == Phase::Memory {
            course.phase = Phase::Switchover;
        }
    }

    pub(super) fn set_at_barrier(&self, is_there: bool) {
        let behind = (!is_there).then(|| self.passed().pages());
        let mut course = self.shared.course.lock();
        course.is_at_barrier = is_there;
        if let Some(pages) = behind {
            course.pages_at_barrier = pages;
        }
    }

    pub(super) fn set_main_zero_pages(&self, pages: u64) {
        let counter = &self.shared.main_zero_pages;
        counter.store(pages, Ordering::Relaxed);
    }

    pub(super) fn set_destination(&self, work: Work) {
        self.shared.course.lock().destination = Some(work);
    }

    /// From now on the destination may get all of the guest, and a cancel is too late.
    ///
    /// # Errors
    /// It was cancelled or failed before.
    pub(super) fn commit(&self) -> Result<(), Error> {
        let mut course = self.shared.course.lock();
        if let Some(error) = self.shared.abort.error() {
            return Err(error);
        }
        course.committed = true;
        course.phase = Phase::HandingOver;
        Ok(())
    }

    /// The migration has ended.
    pub(super) fn end(&self, error: Option<&Error>) {
        let mut course = self.shared.course.lock();
        course.phase = match error.map(Error::fault) {
            None => Phase::Completed,
            Some(Fault::Aborted) => Phase::Cancelled,
            Some(_) => Phase::Failed,
        };
        course.error = error.map(ToString::to_string);
        course.end = Some(Instant::now());
    }

    /// Notes what has been passed on, if that is due: to be called from time to time.
    pub(super) fn sample(&self) {
        let now = Instant::now();
        let mut samples = self.shared.samples.lock();
        if samples.are_due(now) {
            samples.add(Sample {
                at: now,
                passed: self.passed(),
            });
        }
    }

    /// What rates are made out from: over the last seconds, and at the end over the whole migration.
    fn reference(&self, course: &Course, now: Instant) -> Sample {
        let samples = self.shared.samples.lock();
        let recent = samples.reference().filter(|_| course.end.is_none());
        let start = course.memory.or(course.start);
        recent.cloned().unwrap_or_else(|| Sample {
            at: start.unwrap_or(now),
            passed: Passed::default(),
        })
    }

    fn passed(&self) -> Passed {
        let onward = self.shared.passing.get();
        Passed {
            main_bytes: onward.map_or(0, |onward| onward.link.main_bytes()),
            main_zero_pages: self.shared.main_zero_pages.load(Ordering::Relaxed),
            incoming: self.shared.incoming.stats(),
            outgoing: onward.map_or_else(MigrationStats::default, |onward| onward.outgoing.stats()),
        }
    }

    fn waits_for(&self, course: &Course) -> Option<WaitsFor> {
        if course.phase.is_final() {
            return None;
        }
        let Some(Passing { backlog, link, .. }) = self.shared.passing.get() else {
            return Some(course.connecting.unwrap_or(WaitsFor::Source));
        };
        if self.shared.bandwidth.is_holding() {
            return Some(WaitsFor::Bandwidth);
        }
        if backlog.is_full() || link.is_main_busy() {
            return Some(WaitsFor::Destination);
        }
        if course.is_at_barrier {
            return Some(WaitsFor::Barrier);
        }
        if backlog.packets() > 0 {
            return None;
        }
        match course.phase {
            Phase::HandingOver if link.waits_for_release() => Some(WaitsFor::Source),
            Phase::HandingOver if link.has_return_path() => Some(WaitsFor::ReturnPath),
            _ => Some(WaitsFor::Source),
        }
    }
}

impl fmt::Debug for RelayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayHandle({})", self.phase())
    }
}
