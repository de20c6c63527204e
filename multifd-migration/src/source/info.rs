// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration in figures: what QEMU's `query-migrate` says, and what it does not.

use multifd_core::ChannelStats;
use multifd_core::method::RungCount;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::{DownTime, Status};
use crate::Work;

/// What `query-migrate` answers, with QEMU's names, units and meaning; [`Self::more`] has what QEMU
/// lacks. Times are milliseconds, with a fraction.
///
/// With the feature `serde` it serializes to the JSON of `query-migrate`.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct MigrationInfo {
    /// Where the migration stands.
    pub status: Status,
    /// Since the start; fixed at the end.
    pub total_time: f64,
    /// From the start until the first page may be sent.
    pub setup_time: f64,
    /// From the guest's pause until the destination's confirmation; once the guest is paused.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub downtime: Option<f64>,
    /// The downtime if the guest were paused now, as the last fetch of the dirty log made it out.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub expected_downtime: Option<f64>,
    /// How much of the vCPUs' time is taken away, while it is: `auto-converge`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub cpu_throttle_percentage: Option<u8>,
    /// Why it failed.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub error_desc: Option<String>,
    /// About memory.
    pub ram: RamInfo,
    /// What QEMU does not say.
    #[cfg_attr(feature = "serde", serde(rename = "x-multifd"))]
    pub more: MoreInfo,
}

/// The object `ram` of `query-migrate`.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct RamInfo {
    /// Bytes on all connections.
    pub transferred: u64,
    /// Bytes on the multifd channels.
    pub multifd_bytes: u64,
    /// Bytes of memory that are dirty. A page counts as sent once it is queued.
    pub remaining: u64,
    /// Bytes of all blocks.
    pub total: u64,
    /// Pages sent with their content, in all rounds.
    pub normal: u64,
    /// The same in bytes of memory.
    pub normal_bytes: u64,
    /// Zero pages, in all rounds.
    pub duplicate: u64,
    /// Bytes of a page.
    pub page_size: u64,
    /// Megabits per second on all connections since the last fetch of the dirty log; at the end,
    /// over the whole migration without its set-up.
    pub mbps: f64,
    /// Pages per second, in the same time.
    pub pages_per_second: f64,
    /// How often the dirty log was fetched, the start counted.
    pub dirty_sync_count: u64,
    /// Pages that the guest made dirty, per second, between the last two fetches.
    pub dirty_pages_rate: f64,
}

/// What QEMU's `query-migrate` does not say.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct MoreInfo {
    /// Bytes of guest memory per byte on the wire, over the whole migration.
    pub ratio: f64,
    /// Until all that is dirty now is sent, at the present rate and if the guest wrote no more.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub expected_remaining_time: Option<f64>,
    /// Where the downtime went; once the guest was paused.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub downtime_items: Option<DownTime>,
    /// What the destination does with the guest before it confirms, as far as it says so.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub destination: Option<Work>,
    /// The last rounds, up to [`Self::MOST_ROUNDS`] of them.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub rounds: Vec<RoundInfo>,
    /// What was sent on each rung of the method's ladder that was used, if rungs are chosen: see
    /// [`SourceConfig::adapt`](super::SourceConfig::adapt).
    #[cfg_attr(
        feature = "serde",
        serde(
            skip_serializing_if = "Vec::is_empty",
            serialize_with = "super::channel_json::rungs"
        )
    )]
    pub rungs: Vec<RungCount>,
    /// Each channel.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "super::channel_json::channels")
    )]
    pub channels: Vec<ChannelStats>,
}

impl MoreInfo {
    /// No more rounds are remembered: a guest that does not converge has rounds without end.
    pub const MOST_ROUNDS: usize = 100;
}

/// One round: what was sent from one fetch of the dirty log to the next, or while the guest was
/// paused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub struct RoundInfo {
    /// The dirty sync that it began with, from 1: that round sends all of memory.
    pub round: u64,
    /// Milliseconds that it took.
    pub time: f64,
    /// Bytes of guest memory that were sent, zero pages included.
    pub guest_bytes: u64,
    /// Bytes on all connections.
    pub transferred: u64,
    /// Bytes of guest memory per byte on the wire.
    pub ratio: f64,
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::millis::millis;

    #[test]
    fn the_json_is_query_migrates() {
        let micros = Duration::from_micros;
        let down_time = DownTime {
            pause: micros(1_500),
            wait: Duration::ZERO,
            fetch: Duration::from_nanos(2_000_400),
            memory: micros(3_001),
            devices: micros(4_000),
            destination: micros(1_234_567),
        };
        let mut channel = ChannelStats::default();
        channel.packets = 9;
        channel.normal_pages = 8;
        channel.zero_pages = 7;
        channel.guest_bytes = 61_440;
        channel.wire_bytes = 33_000;
        channel.cpu_time = micros(250);
        channel.waited_for_work = micros(10_000);
        channel.waited_for_connection = Duration::from_nanos(1_999_600);
        let mut info = MigrationInfo {
            status: Status::Device,
            total_time: 12.5,
            downtime: Some(millis(down_time.total())),
            cpu_throttle_percentage: Some(20),
            error_desc: Some("why".to_owned()),
            ..MigrationInfo::default()
        };
        info.ram.duplicate = 7;
        info.more.downtime_items = Some(down_time);
        info.more.destination = Some(Work::WritingToDisk);
        info.more.rounds = vec![RoundInfo {
            round: 1,
            time: 2.5,
            guest_bytes: 8192,
            transferred: 4096,
            ratio: 2.0,
        }];
        let mut rung = RungCount::default();
        (rung.name, rung.packets) = ("raw", 3);
        (rung.guest_bytes, rung.wire_bytes) = (8192, 8200);
        info.more.rungs = vec![rung];
        info.more.channels = vec![channel, ChannelStats::default()];
        let want = concat!(
            r#"{"status":"device","total-time":12.5,"setup-time":0.0,"downtime":1245.068,"#,
            r#""cpu-throttle-percentage":20,"error-desc":"why","#,
            r#""ram":{"transferred":0,"multifd-bytes":0,"remaining":0,"total":0,"normal":0,"#,
            r#""normal-bytes":0,"duplicate":7,"page-size":0,"mbps":0.0,"pages-per-second":0.0,"#,
            r#""dirty-sync-count":0,"dirty-pages-rate":0.0},"#,
            r#""x-multifd":{"ratio":0.0,"downtime-items":{"pause":1.5,"wait":0.0,"fetch":2.0,"#,
            r#""memory":3.001,"devices":4.0,"destination":1234.567},"#,
            r#""destination":"writing-to-disk","#,
            r#""rounds":[{"round":1,"time":2.5,"guest-bytes":8192,"transferred":4096,"ratio":2.0}],"#,
            r#""rungs":[{"level":"raw","packets":3,"guest-bytes":8192,"wire-bytes":8200}],"#,
            r#""channels":["#,
            r#"{"packets":9,"normal":8,"duplicate":7,"guest-bytes":61440,"wire-bytes":33000,"#,
            r#""cpu-time":0.25,"waited-for-work":10.0,"waited-for-connection":2.0},"#,
            r#"{"packets":0,"normal":0,"duplicate":0,"guest-bytes":0,"wire-bytes":0,"#,
            r#""cpu-time":0.0,"waited-for-work":0.0,"waited-for-connection":0.0}]}}"#,
        );
        assert_eq!(serde_json::to_string(&info).unwrap(), want);
        let items = serde_json::to_string(&info.more.downtime_items).unwrap();
        let read = serde_json::from_str::<Option<_>>(&items).unwrap();
        info.more.downtime_items = read;
        assert_eq!(serde_json::to_string(&info).unwrap(), want);
    }
}
