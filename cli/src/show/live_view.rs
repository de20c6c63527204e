// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a running migration looks like, in a few lines under its bar.

use std::fmt::Write as _;
use std::time::Duration;

use multifd_migration::source::MigrationInfo;

use crate::show::rungs::{self, RungReport};
use crate::show::units::{Bytes, Rate};

/// The lines for `now`, with rates since `last`.
pub(crate) fn text(last: &MigrationInfo, now: &MigrationInfo) -> String {
    let seconds = (now.total_time - last.total_time).max(1.0) / 1e3;
    let mbps = |now: u64, last: u64| now.saturating_sub(last) as f64 * 8e-6 / seconds;
    let mut text = format!(
        "round {}, {} left, {:.0} mbps, ratio {:.2}, guest writes {}",
        now.ram.dirty_sync_count,
        Bytes(now.ram.remaining),
        mbps(now.ram.transferred, last.ram.transferred),
        now.more.ratio,
        Rate(whole(now.ram.dirty_pages_rate * now.ram.page_size as f64)),
    );
    if let Some(expected) = now.expected_downtime {
        let _ = write!(text, ", expected downtime {expected:.0} ms");
    }
    if let Some(percent) = now.cpu_throttle_percentage {
        let _ = write!(text, ", throttled by {percent} %");
    }
    if let Some(work) = now.more.destination {
        let _ = write!(text, ", the destination is {work}");
    }
    let rungs = rungs::line(&RungReport::since(&last.more.rungs, &now.more.rungs));
    if !rungs.is_empty() {
        let _ = write!(text, "\n  packets by level: {rungs}");
    }
    for (at, channel) in now.more.channels.iter().enumerate().take(MOST_CHANNELS) {
        let before = last.more.channels.get(at).copied().unwrap_or_default();
        let share = |now: Duration, last: Duration| {
            100.0 * now.saturating_sub(last).as_secs_f64() / seconds
        };
        let _ = write!(
            text,
            "\n  channel {at}: {:.0} mbps, cpu {:.0} %, waits {:.0} % for pages, {:.0} % for the connection",
            mbps(channel.wire_bytes, before.wire_bytes),
            share(channel.cpu_time, before.cpu_time),
            share(channel.waited_for_work, before.waited_for_work),
            share(channel.waited_for_connection, before.waited_for_connection),
        );
    }
    if let Some(more) = now.more.channels.len().checked_sub(MOST_CHANNELS + 1) {
        let _ = write!(text, "\n  and {} more channels", more + 1);
    }
    text
}

fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are not negative, and casts of floats saturate"
    )]
    let whole = number as u64;
    whole
}

/// More would not fit on a small terminal.
const MOST_CHANNELS: usize = 8;

#[cfg(test)]
mod tests {
    use multifd_core::ChannelStats;
    use multifd_core::method::RungCount;

    use super::*;

    #[test]
    fn rates_are_since_the_last_look() {
        let last = MigrationInfo::default();
        let mut now = MigrationInfo::default();
        now.total_time = 2000.0;
        now.expected_downtime = Some(120.4);
        now.ram.transferred = 25_000_000;
        now.ram.dirty_sync_count = 3;
        let mut channel = ChannelStats::default();
        channel.wire_bytes = 12_500_000;
        channel.cpu_time = Duration::from_secs(1);
        now.more.channels = vec![channel; 10];
        let mut rung = RungCount::default();
        (rung.name, rung.packets) = ("raw", 4);
        (rung.guest_bytes, rung.wire_bytes) = (2000, 2000);
        now.more.rungs = vec![rung];
        let text = text(&last, &now);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "round 3, 0 B left, 100 mbps, ratio 0.00, guest writes 0 B/s, expected downtime 120 ms"
        );
        assert_eq!(lines[1], "  packets by level: raw 100 % (ratio 1.00)");
        assert_eq!(
            lines[2],
            "  channel 0: 50 mbps, cpu 50 %, waits 0 % for pages, 0 % for the connection"
        );
        assert_eq!(lines.len(), 11);
        assert_eq!(lines[10], "  and 2 more channels");
    }
}
