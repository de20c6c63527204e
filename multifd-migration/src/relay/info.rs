// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration that is passed on, in figures.

use std::time::Duration;

use multifd_core::{ChannelStats, MigrationStats};
#[cfg(feature = "serde")]
use serde::Serialize;

use super::{Phase, WaitsFor};
use crate::Work;
use crate::millis::millis;

/// What [`RelayHandle::info`](super::RelayHandle::info) answers. Times are milliseconds, with a fraction.
///
/// With the feature `serde` it serializes to JSON, with QEMU's names where QEMU has them.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct RelayInfo {
    /// Where the migration stands.
    pub phase: Phase,
    /// What it waits for at this moment; nothing while all that can move does.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub waits_for: Option<WaitsFor>,
    /// What the destination does with the guest before it confirms, as far as it says so.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub destination: Option<Work>,
    /// Why it failed.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub error_desc: Option<String>,
    /// The machine type that the source has sent.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub machine: Option<String>,
    /// Since the source's main connection was known; fixed at the end.
    pub total_time: f64,
    /// Until the first pass over all memory is done, at the present rate. When the migration ends a relay cannot
    /// know: behind the first pass the source sends what the guest writes to.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub expected_remaining_time: Option<f64>,
    /// Most bytes per second to the destination's channels; 0 is unlimited.
    pub max_bandwidth: u64,
    /// About memory.
    pub ram: RelayRamInfo,
    /// Bytes of the main channel that have been passed on.
    pub main_bytes: u64,
    /// Packets that wait for the destination to take them.
    pub waiting_packets: usize,
    /// How long packets stay here: the mean of all.
    pub packet_delay: f64,
    /// The source's side.
    pub r#in: RelaySideInfo,
    /// The destination's side.
    pub out: RelaySideInfo,
}

/// What a relay knows of the guest's memory.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct RelayRamInfo {
    /// Bytes of all blocks, once the source has announced them.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub total: Option<u64>,
    /// Bytes of a page, once that is known.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub page_size: Option<u64>,
    /// Bytes of all pages that were passed on, in all rounds.
    pub guest_bytes: u64,
    /// What is left of a first pass over all memory, as long as less than all of it has been passed on. Behind that only
    /// the source knows what is dirty, and there is none.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub remaining: Option<u64>,
    /// Barriers that all channels have passed: one before memory and one behind each round; with machine types of QEMU
    /// up to 8.0 one behind each section.
    pub barriers: u64,
    /// Bytes of the pages that were passed on since the last one.
    pub since_barrier: u64,
    /// Pages per second that are passed on, over the last seconds.
    pub pages_per_second: f64,
}

/// One side of a relay.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct RelaySideInfo {
    /// Bytes on all connections.
    pub transferred: u64,
    /// Bytes on the multifd channels.
    pub multifd_bytes: u64,
    /// Pages with their content, in all rounds.
    pub normal: u64,
    /// Zero pages.
    pub duplicate: u64,
    /// Megabits per second on all connections, over the last seconds.
    pub mbps: f64,
    /// Bytes of guest memory per byte on the wire.
    pub ratio: f64,
    /// Of the channels' threads.
    pub cpu_time: f64,
    /// Each channel, by its number.
    pub channels: Vec<RelayChannelInfo>,
}

/// One channel of a relay.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct RelayChannelInfo {
    /// Packets, SYNC packets included.
    pub packets: u64,
    /// Pages with their content.
    pub normal: u64,
    /// Zero pages.
    pub duplicate: u64,
    /// Bytes on the connection.
    pub wire_bytes: u64,
    /// Megabits per second, over the last seconds.
    pub mbps: f64,
    /// Of its thread.
    pub cpu_time: f64,
    /// How long it has waited for the source.
    pub waited_for_source: f64,
    /// How long it has waited for the destination; a channel from the source also for the bandwidth that is set for
    /// it.
    pub waited_for_destination: f64,
    /// How long a channel from the source has waited for others at barriers.
    pub waited_at_barriers: f64,
    /// What it has waited for most of the last seconds.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub waits_for: Option<WaitsFor>,
}

/// Which side channels are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    In,
    Out,
}

/// What has passed between two moments, of which the second is now.
pub(super) struct Window<'w> {
    pub(super) time: Duration,
    /// What the channels had done at its beginning.
    pub(super) last: &'w MigrationStats,
    /// What the whole migration waits for now.
    pub(super) waits_for: Option<WaitsFor>,
}

impl RelaySideInfo {
    /// With the bytes of the main channel, now and at the beginning of the window, and the zero pages on it.
    pub(super) fn new(
        end: End,
        stats: &MigrationStats,
        (main_bytes, main_before): (u64, u64),
        (zero_pages, page_size): (u64, u64),
        window: &Window<'_>,
    ) -> Self {
        let total = stats.total();
        let transferred = main_bytes + total.wire_bytes;
        let before = main_before + window.last.total().wire_bytes;
        let channels = stats.channels.iter().enumerate().map(|(at, channel)| {
            let last = window.last.channels.get(at).copied().unwrap_or_default();
            RelayChannelInfo::new(end, channel, &last, window)
        });
        Self {
            transferred,
            multifd_bytes: total.wire_bytes,
            normal: total.normal_pages,
            duplicate: total.zero_pages + zero_pages,
            mbps: window.mbps(transferred, before),
            ratio: (total.guest_bytes + zero_pages * page_size) as f64 / transferred.max(1) as f64,
            cpu_time: millis(total.cpu_time),
            channels: channels.collect(),
        }
    }
}

impl RelayChannelInfo {
    fn new(end: End, now: &ChannelStats, last: &ChannelStats, window: &Window<'_>) -> Self {
        let waits = |stats: &ChannelStats| match end {
            End::In => [
                (WaitsFor::Source, stats.waited_for_connection),
                (WaitsFor::Destination, stats.waited_for_room),
                (WaitsFor::Barrier, stats.waited_for_work),
            ],
            End::Out => [
                (WaitsFor::Source, stats.waited_for_work),
                (WaitsFor::Destination, stats.waited_for_connection),
                (WaitsFor::Barrier, Duration::ZERO),
            ],
        };
        let [source, destination, barriers] = waits(now);
        let most = waits(now).into_iter().zip(waits(last));
        let most = most.map(|((what, now), (_, last))| (what, now.saturating_sub(last)));
        let most = most.max_by_key(|(_, time)| *time);
        let waits_for = most.filter(|(_, time)| *time > window.time / 2);
        // A wait that is not over has not been counted, and one for the bandwidth never is.
        let is_still = now.wire_bytes == last.wire_bytes;
        let is_held = |what| end == End::Out && what == WaitsFor::Bandwidth;
        let unknown = window.waits_for.filter(|what| is_still || is_held(*what));
        Self {
            packets: now.packets,
            normal: now.normal_pages,
            duplicate: now.zero_pages,
            wire_bytes: now.wire_bytes,
            mbps: window.mbps(now.wire_bytes, last.wire_bytes),
            cpu_time: millis(now.cpu_time),
            waited_for_source: millis(source.1),
            waited_for_destination: millis(destination.1),
            waited_at_barriers: millis(barriers.1),
            waits_for: waits_for.map(|(what, _)| what).or(unknown),
        }
    }
}

impl Window<'_> {
    fn mbps(&self, now: u64, last: u64) -> f64 {
        self.per_second(now.saturating_sub(last) as f64 * 8e-6)
    }

    pub(super) fn per_second(&self, count: f64) -> f64 {
        count / self.time.as_secs_f64().max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(wire_bytes: u64, [work, connection, room]: [u64; 3]) -> ChannelStats {
        let mut stats = ChannelStats::default();
        stats.wire_bytes = wire_bytes;
        stats.waited_for_work = Duration::from_millis(work);
        stats.waited_for_connection = Duration::from_millis(connection);
        stats.waited_for_room = Duration::from_millis(room);
        stats
    }

    #[test]
    fn a_channel_waits_at_one_of_its_ends() {
        let last = MigrationStats::default();
        let window = Window {
            time: Duration::from_secs(2),
            last: &last,
            waits_for: Some(WaitsFor::Bandwidth),
        };
        let of = |end, stats| {
            let info = RelayChannelInfo::new(end, &stats, &channel(1000, [1000, 1000, 0]), &window);
            (info.waits_for, info.mbps)
        };
        // Both have waited as long before; nothing else is known of a channel that waits for the bandwidth.
        for (end, waits, wanted) in [
            (End::In, [1000, 2500, 0], Some(WaitsFor::Source)),
            (End::In, [1000, 1000, 1500], Some(WaitsFor::Destination)),
            (End::In, [2500, 1000, 0], Some(WaitsFor::Barrier)),
            (End::In, [1500, 1500, 0], None),
            (End::Out, [2500, 1000, 0], Some(WaitsFor::Source)),
            (End::Out, [1000, 2500, 0], Some(WaitsFor::Destination)),
            (End::Out, [1500, 1500, 0], Some(WaitsFor::Bandwidth)),
        ] {
            let wanted = (wanted, 1.0);
            assert_eq!(
                of(end, channel(251_000, waits)),
                wanted,
                "{end:?} {waits:?}"
            );
        }
        let still = of(End::Out, channel(1000, [1000, 1000, 0]));
        assert_eq!(still, (Some(WaitsFor::Bandwidth), 0.0));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn what_is_not_known_is_not_there() {
        let json = serde_json::to_value(RelayInfo::default()).unwrap();
        assert_eq!(json["phase"], "setup");
        for absent in ["waits-for", "expected-remaining-time", "error-desc"] {
            assert!(json.get(absent).is_none(), "{json:#}");
        }
        assert!(json["ram"].get("remaining").is_none(), "{json:#}");
    }
}
