// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a migration took.

use std::time::Duration;

use multifd_core::MigrationStats;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::RunState;

/// What a completed migration took, as its source or its destination saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// From the first byte to the peer's confirmation, or to the end of the stream without one.
    pub total_time: Duration,
    /// The part of it before the first page: connections, header, list of blocks.
    pub setup_time: Duration,
    /// From the moment when the guest may run no more until it may run at the destination: last
    /// barrier, device state, confirmation. At the destination: from the end of RAM on.
    pub down_time: Duration,
    /// Where it went; only at the source.
    pub down_time_items: Option<DownTime>,
    /// Whether the guest runs now or stays paused, if the source's stream says so. `None` at a destination is a
    /// guest that runs.
    pub run_state: Option<RunState>,
    /// Bytes of all RAM blocks.
    pub ram_bytes: u64,
    /// Bytes on the main channel.
    pub main_bytes: u64,
    /// Zero pages that went over the main channel: with `zero-page-detection=legacy`.
    pub main_zero_pages: u64,
    /// Size of the guest's pages in bytes.
    pub page_size: u64,
    /// What each multifd channel did.
    pub channels: MigrationStats,
}

/// Where the time between pause and the guest's start at the destination went. In JSON (feature `serde`) milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub struct DownTime {
    /// The host stopped the guest.
    #[cfg_attr(feature = "serde", serde(with = "crate::millis"))]
    pub pause: Duration,
    /// It waited for the word to go on: `pause-before-switchover`.
    #[cfg_attr(feature = "serde", serde(with = "crate::millis"))]
    pub wait: Duration,
    /// The last fetch of the dirty log.
    #[cfg_attr(feature = "serde", serde(with = "crate::millis"))]
    pub fetch: Duration,
    /// The last dirty pages, until the connections had taken them.
    #[cfg_attr(feature = "serde", serde(with = "crate::millis"))]
    pub memory: Duration,
    /// The host saved the devices, and they were sent.
    #[cfg_attr(feature = "serde", serde(with = "crate::millis"))]
    pub devices: Duration,
    /// The destination took the rest off the wire, loaded the devices and confirmed.
    #[cfg_attr(feature = "serde", serde(with = "crate::millis"))]
    pub destination: Duration,
}

impl Report {
    /// Pages that are zero: QEMU's `duplicate`.
    pub fn zero_pages(&self) -> u64 {
        self.channels.total().zero_pages + self.main_zero_pages
    }

    /// Bytes on all connections: QEMU's `transferred`.
    pub fn transferred(&self) -> u64 {
        self.main_bytes + self.channels.total().wire_bytes
    }

    /// Megabits per second on all connections, without the set-up: QEMU's `mbps`.
    pub fn mbps(&self) -> f64 {
        per_second(self.transferred() as f64 * 8.0 / 1e6, self.transfer_time())
    }

    /// Pages per second, normal and zero ones, without the set-up.
    pub fn pages_per_second(&self) -> f64 {
        let total = self.channels.total();
        per_second(
            (total.normal_pages + total.zero_pages) as f64,
            self.transfer_time(),
        )
    }

    /// Bytes of guest memory sent per byte on the wire.
    pub fn ratio(&self) -> f64 {
        self.guest_bytes() as f64 / self.transferred().max(1) as f64
    }

    /// Bytes of all pages that were sent, on whatever channel.
    fn guest_bytes(&self) -> u64 {
        self.channels.total().guest_bytes + self.main_zero_pages * self.page_size
    }

    fn transfer_time(&self) -> Duration {
        self.total_time.saturating_sub(self.setup_time)
    }
}

impl DownTime {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.pause + self.wait + self.fetch + self.memory + self.devices + self.destination
    }
}

fn per_second(count: f64, time: Duration) -> f64 {
    count / time.as_secs_f64().max(1e-9)
}
