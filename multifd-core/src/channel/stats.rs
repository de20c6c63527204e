// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a channel has done, counted while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::adapt::Clocks;
use crate::geometry::PageSize;
use crate::method::{CodecPath, Fallback, MOST_RUNGS, PathCounts, Rung, RungCount};

/// What one channel has sent or received so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Packets, SYNC packets included.
    pub packets: u64,
    /// Pages with payload.
    pub normal_pages: u64,
    /// Pages that were listed as zero.
    pub zero_pages: u64,
    /// Bytes of guest memory that these pages are: normal and zero ones.
    pub guest_bytes: u64,
    /// Bytes on the connection: initial packet, headers and payload.
    pub wire_bytes: u64,
    /// CPU time of the channel's thread, user and system.
    pub cpu_time: Duration,
    /// Time spent waiting for pages to send, or at a barrier.
    pub waited_for_work: Duration,
    /// Time spent waiting for the connection.
    pub waited_for_connection: Duration,
    /// Time that a channel of a relay which has received a packet has waited for room: for the destination to take
    /// others, or for the bandwidth of what is received.
    pub waited_for_room: Duration,
    /// Which implementation of the method did the packets with payload.
    pub paths: PathCounts,
    /// Which rungs of the method's ladder the packets were made on, the cheapest first, if that was chosen for each
    /// packet; the others have no name.
    pub rungs: [RungCount; MOST_RUNGS],
}

impl ChannelStats {
    /// The rungs that were chosen from.
    pub fn rungs(&self) -> impl Iterator<Item = &RungCount> {
        self.rungs.iter().filter(|rung| !rung.name.is_empty())
    }

    fn sum(channels: impl Iterator<Item = Self>) -> Self {
        channels.fold(Self::default(), |mut total, channel| {
            total.add(&channel);
            total
        })
    }

    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.normal_pages += other.normal_pages;
        self.zero_pages += other.zero_pages;
        self.guest_bytes += other.guest_bytes;
        self.wire_bytes += other.wire_bytes;
        self.cpu_time += other.cpu_time;
        self.waited_for_work += other.waited_for_work;
        self.waited_for_connection += other.waited_for_connection;
        self.waited_for_room += other.waited_for_room;
        self.paths.add(&other.paths);
        for (rung, other) in self.rungs.iter_mut().zip(&other.rungs) {
            rung.add(other);
        }
    }
}

/// What all channels of a migration have done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationStats {
    /// Each channel, by its number.
    pub channels: Vec<ChannelStats>,
}

/// Reads a migration's counters from any thread, while it runs and afterwards. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor {
    counters: Arc<[Arc<Counters>]>,
    page_size: Arc<OnceLock<PageSize>>,
}

impl Monitor {
    /// The page size may be found out later.
    pub(crate) fn new(counters: Vec<Arc<Counters>>, page_size: Arc<OnceLock<PageSize>>) -> Self {
        Self {
            counters: counters.into(),
            page_size,
        }
    }

    /// What all channels have done so far.
    pub fn stats(&self) -> MigrationStats {
        MigrationStats {
            channels: self.channels().collect(),
        }
    }

    /// The sum over all channels so far. Allocates nothing, so that it may be asked per packet.
    pub fn total(&self) -> ChannelStats {
        ChannelStats::sum(self.channels())
    }

    /// Bytes that all channels have sent or received so far.
    pub fn wire_bytes(&self) -> u64 {
        self.total().wire_bytes
    }

    /// Bytes that have brought the migration on, on all channels so far: not those of empty packets.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.counters
            .iter()
            .map(|channel| channel.moved_bytes())
            .sum()
    }

    fn channels(&self) -> impl Iterator<Item = ChannelStats> {
        // Nothing has come as long as it is not known.
        let page_size = self.page_size.get().copied().unwrap_or_default();
        let channels = self.counters.iter();
        channels.map(move |channel| channel.read(page_size))
    }
}

impl MigrationStats {
    /// The sum over all channels.
    pub fn total(&self) -> ChannelStats {
        ChannelStats::sum(self.channels.iter().copied())
    }
}

/// The counters behind [`ChannelStats`]: written by the channel's thread, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    packets: AtomicU64,
    normal_pages: AtomicU64,
    zero_pages: AtomicU64,
    wire_bytes: AtomicU64,
    /// Bytes of packets that bring nothing.
    idle_bytes: AtomicU64,
    cpu_nanos: AtomicU64,
    work_nanos: AtomicU64,
    connection_nanos: AtomicU64,
    room_nanos: AtomicU64,
    paths: [AtomicU64; CodecPath::ALL.len()],
    fallbacks: [AtomicU64; Fallback::ALL.len()],
    /// What is chosen from, once that is known.
    ladder: OnceLock<&'static [Rung]>,
    rungs: [RungCounters; MOST_RUNGS],
}

#[derive(Debug, Default)]
struct RungCounters {
    packets: AtomicU64,
    guest_bytes: AtomicU64,
    wire_bytes: AtomicU64,
}

impl Counters {
    /// Counts one packet that has been sent or received completely.
    pub(super) fn packet(&self, normal: usize, zero: usize, wire_bytes: usize) {
        add(&self.packets, 1);
        add(&self.normal_pages, normal as u64);
        add(&self.zero_pages, zero as u64);
        add(&self.wire_bytes, wire_bytes as u64);
    }

    /// Says of bytes that have been counted that they were of packets that bring nothing.
    pub(super) fn idle(&self, wire_bytes: usize) {
        add(&self.idle_bytes, wire_bytes as u64);
    }

    /// Counts one packet with payload: which implementation did it. `total` is what the method has
    /// counted itself, over all its packets.
    pub(super) fn path(&self, total: Option<PathCounts>) {
        let Some(total) = total else {
            let [.., software] = &self.paths;
            add(software, 1);
            return;
        };
        for (counter, path) in self.paths.iter().zip(CodecPath::ALL) {
            counter.store(total.packets(path), Ordering::Relaxed);
        }
        for (counter, reason) in self.fallbacks.iter().zip(Fallback::ALL) {
            counter.store(total.fallbacks(reason), Ordering::Relaxed);
        }
    }

    /// From now on packets are made on rungs of this ladder.
    pub(super) fn chooses_from(&self, ladder: &'static [Rung]) {
        // Said once for each channel.
        let _ = self.ladder.set(ladder);
    }

    /// Counts one packet with payload that was made on a rung.
    pub(super) fn rung(&self, rung: usize, guest_bytes: usize, wire_bytes: usize) {
        if let Some(counters) = self.rungs.get(rung) {
            add(&counters.packets, 1);
            add(&counters.guest_bytes, guest_bytes as u64);
            add(&counters.wire_bytes, wire_bytes as u64);
        }
    }

    /// What the clocks of the calling thread, which must be the channel's, have come to.
    pub(super) fn read_clocks(&self, connection: Duration) -> Clocks {
        Clocks {
            cpu: Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed)),
            blocked: connection,
            idle: Duration::from_nanos(self.work_nanos.load(Ordering::Relaxed)),
        }
    }

    /// Bytes counted so far.
    pub(crate) fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Ordering::Relaxed)
    }

    /// Bytes counted so far of what brings the migration on.
    fn moved_bytes(&self) -> u64 {
        let idle = self.idle_bytes.load(Ordering::Relaxed);
        self.wire_bytes().saturating_sub(idle)
    }

    /// Counts bytes outside of packets: the initial one.
    pub(super) fn bytes(&self, wire_bytes: usize) {
        add(&self.wire_bytes, wire_bytes as u64);
    }

    /// Counts time spent waiting for work.
    pub(crate) fn waited_for_work(&self, time: Duration) {
        add(&self.work_nanos, nanos(time));
    }

    /// Counts time spent waiting for room.
    pub(super) fn waited_for_room(&self, time: Duration) {
        add(&self.room_nanos, nanos(time));
    }

    /// Notes the clocks of the calling thread, which must be the channel's.
    pub(super) fn clocks(&self, connection: Duration) {
        self.connection_nanos
            .store(nanos(connection), Ordering::Relaxed);
        self.cpu_nanos
            .store(nanos(thread_cpu_time()), Ordering::Relaxed);
    }

    fn read(&self, page_size: PageSize) -> ChannelStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let time = |counter| Duration::from_nanos(value(counter));
        let (normal_pages, zero_pages) = (value(&self.normal_pages), value(&self.zero_pages));
        ChannelStats {
            packets: value(&self.packets),
            normal_pages,
            zero_pages,
            guest_bytes: (normal_pages + zero_pages) * page_size.bytes_u64(),
            wire_bytes: value(&self.wire_bytes),
            cpu_time: time(&self.cpu_nanos),
            waited_for_work: time(&self.work_nanos),
            waited_for_connection: time(&self.connection_nanos),
            waited_for_room: time(&self.room_nanos),
            paths: self.read_paths(),
            rungs: self.read_rungs(),
        }
    }

    fn read_rungs(&self) -> [RungCount; MOST_RUNGS] {
        let mut counts = [RungCount::default(); MOST_RUNGS];
        let ladder = self.ladder.get().copied().unwrap_or_default();
        for ((count, rung), counters) in counts.iter_mut().zip(ladder).zip(&self.rungs) {
            *count = RungCount {
                name: rung.name,
                packets: counters.packets.load(Ordering::Relaxed),
                guest_bytes: counters.guest_bytes.load(Ordering::Relaxed),
                wire_bytes: counters.wire_bytes.load(Ordering::Relaxed),
            };
        }
        counts
    }

    fn read_paths(&self) -> PathCounts {
        let mut counts = PathCounts::default();
        for (counter, path) in self.paths.iter().zip(CodecPath::ALL) {
            counts.add_packets(path, counter.load(Ordering::Relaxed));
        }
        for (counter, reason) in self.fallbacks.iter().zip(Fallback::ALL) {
            counts.add_fallbacks(reason, counter.load(Ordering::Relaxed));
        }
        counts
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// User and system time that the calling thread has used so far; none where the system has no such
/// clock.
#[allow(unsafe_code, reason = "the standard library has no thread clock")]
pub(super) fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to `time`, which lives over the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    match (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec)) {
        (Ok(seconds), Ok(nanos)) if result == 0 => Duration::new(seconds, nanos),
        _ => Duration::ZERO,
    }
}

/// Nanoseconds; a time of more than 584 years is that long.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
