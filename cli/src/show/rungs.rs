// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What was chosen for the packets of a source that adapts.

use std::fmt::Write as _;

use multifd_core::ChannelStats;
use multifd_core::method::RungCount;
use serde::{Deserialize, Serialize};

/// What was sent on one rung of a method's ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RungReport {
    /// `raw`, or the level.
    pub(crate) level: String,
    /// Packets with payload.
    pub(crate) packets: u64,
    /// Bytes of guest memory in them.
    pub(crate) guest_bytes: u64,
    /// Bytes of guest memory per byte on the wire.
    pub(crate) ratio: f64,
}

impl RungReport {
    fn new(count: &RungCount) -> Self {
        Self {
            level: count.name.to_owned(),
            packets: count.packets,
            guest_bytes: count.guest_bytes,
            ratio: count.guest_bytes as f64 / count.wire_bytes.max(1) as f64,
        }
    }

    /// What has been sent from `last` to `now`.
    pub(crate) fn since(last: &[RungCount], now: &[RungCount]) -> Vec<Self> {
        let fresh = now.iter().map(|now| {
            let last = last.iter().find(|last| last.name == now.name);
            let last = last.copied().unwrap_or_default();
            let mut fresh = *now;
            fresh.packets = now.packets.saturating_sub(last.packets);
            fresh.guest_bytes = now.guest_bytes.saturating_sub(last.guest_bytes);
            fresh.wire_bytes = now.wire_bytes.saturating_sub(last.wire_bytes);
            fresh
        });
        let used = fresh.filter(|rung| rung.packets > 0);
        used.map(|rung| Self::new(&rung)).collect()
    }

    /// Those that were used.
    pub(crate) fn all(stats: &ChannelStats) -> Vec<Self> {
        let used = stats.rungs().filter(|count| count.packets > 0);
        used.map(Self::new).collect()
    }
}

/// One line: the share of the packets of each, and their ratio.
pub(crate) fn line(rungs: &[RungReport]) -> String {
    let all: u64 = rungs.iter().map(|rung| rung.packets).sum();
    let mut line = String::new();
    for rung in rungs {
        let share = 100.0 * rung.packets as f64 / all.max(1) as f64;
        let comma = if line.is_empty() { "" } else { ", " };
        let RungReport { level, ratio, .. } = rung;
        // A string has room for everything.
        let _ = write!(line, "{comma}{level} {share:.0} % (ratio {ratio:.2})");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_one_line() {
        let mut stats = ChannelStats::default();
        for (place, (name, packets)) in stats.rungs.iter_mut().zip([("raw", 1), ("1", 3), ("9", 0)])
        {
            place.name = name;
            place.packets = packets;
            place.guest_bytes = packets * 4096;
            place.wire_bytes = 2048;
        }
        let rungs = RungReport::all(&stats);
        assert_eq!(rungs.len(), 2);
        assert_eq!(line(&rungs), "raw 25 % (ratio 2.00), 1 75 % (ratio 6.00)");
        assert_eq!(line(&[]), "");
        let before = stats.rungs;
        stats.rungs.iter_mut().for_each(|rung| {
            if rung.name == "9" {
                rung.packets = 2;
            }
        });
        let fresh = RungReport::since(&before, &stats.rungs);
        assert_eq!(fresh.len(), 1);
        assert_eq!(fresh[0].level, "9");
    }
}
