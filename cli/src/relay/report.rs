// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a migration took that was passed on, for humans and for programs.

use std::io;
use std::time::{Duration, SystemTime};

use multifd_core::engine::Delay;
use multifd_core::{MigrationStats, MultifdMethods};
use multifd_migration::RelayReport;
use serde::Serialize;
use serde_json::{Map, Value};

use super::plan::Plan;
use crate::show::clock::{millis, rfc3339};
use crate::show::codec_paths::PathsReport;
use crate::show::log::Identity;
use crate::show::output;
use crate::show::report::ChannelReport;
use crate::show::rungs::RungReport;
use crate::show::units::Bytes;

/// The result of a migration that was passed on. Times are milliseconds, with a fraction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PassageReport {
    status: &'static str,
    side: &'static str,
    /// Which migration, of whom, from where to where and since when.
    #[serde(flatten)]
    identity: Map<String, Value>,
    end: String,
    #[serde(skip)]
    name: String,
    machine: String,
    /// Whether the destination has confirmed, and the source knows it.
    confirmed: bool,
    total_time: f64,
    setup_time: f64,
    /// From the end of RAM on.
    device_time: f64,
    ram: RamReport,
    main_bytes: u64,
    /// The source's side.
    r#in: SideReport,
    /// The destination's side.
    out: SideReport,
    delay: DelaysReport,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct RamReport {
    total: u64,
    page_size: u64,
    /// Of all pages that were passed on, in all rounds.
    guest_bytes: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SideReport {
    socket_address: String,
    multifd_compression: &'static str,
    implementation: String,
    multifd_channels: usize,
    /// On all connections.
    transferred: u64,
    multifd_bytes: u64,
    normal: u64,
    /// Zero pages in packets and on the main channel.
    duplicate: u64,
    mbps: f64,
    /// Bytes of guest memory per byte on the wire.
    ratio: f64,
    /// Of the channels' threads.
    cpu_time: f64,
    channels: Vec<ChannelReport>,
    paths: PathsReport,
    /// What was chosen for the packets, if that was chosen for each; only of the destination's side.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rungs: Vec<RungReport>,
}

/// How long things stay in the relay.
#[derive(Clone, Debug, Serialize)]
struct DelaysReport {
    /// From the last byte of a packet received until its last byte is sent.
    packets: DelayReport,
    /// From a complete barrier until it is sent on the last channel; the last one is the switchover's.
    barriers: DelayReport,
}

#[derive(Clone, Debug, Serialize)]
struct DelayReport {
    count: u64,
    mean: f64,
    longest: f64,
    last: f64,
}

impl PassageReport {
    pub(super) fn new(
        report: &RelayReport,
        identity: &Identity,
        plan: &Plan,
        listening: String,
    ) -> Self {
        let guest_bytes = report.guest_bytes();
        let side = |method: &dyn MultifdMethods,
                    address: String,
                    stats: &MigrationStats,
                    transferred: u64| {
            let total = stats.total();
            let seconds = report.total_time.saturating_sub(report.setup_time);
            SideReport {
                socket_address: address,
                multifd_compression: method.name(),
                implementation: method.implementation().to_string(),
                multifd_channels: stats.channels.len(),
                transferred,
                multifd_bytes: total.wire_bytes,
                normal: total.normal_pages,
                duplicate: total.zero_pages + report.main_zero_pages,
                mbps: transferred as f64 * 8.0 / 1e6 / seconds.as_secs_f64().max(1e-9),
                ratio: guest_bytes as f64 / transferred.max(1) as f64,
                cpu_time: millis(total.cpu_time),
                channels: stats.channels.iter().map(ChannelReport::new).collect(),
                paths: PathsReport::new(&total.paths),
                rungs: RungReport::all(&total),
            }
        };
        let channels = &report.channels;
        let to = plan.to.to_string();
        Self {
            status: "completed",
            side: "relay",
            identity: identity.members(),
            end: rfc3339(SystemTime::now()),
            name: identity.to_string(),
            machine: report.machine.clone(),
            confirmed: report.confirmed,
            total_time: millis(report.total_time),
            setup_time: millis(report.setup_time),
            device_time: millis(report.device_time),
            ram: RamReport {
                total: report.ram_bytes,
                page_size: report.page_size,
                guest_bytes,
            },
            main_bytes: report.main_bytes,
            r#in: side(
                &*plan.incoming,
                listening,
                &channels.incoming,
                report.received(),
            ),
            out: side(&*plan.outgoing, to, &channels.outgoing, report.sent()),
            delay: DelaysReport {
                packets: DelayReport::new(&channels.packets),
                barriers: DelayReport::new(&channels.syncs),
            },
        }
    }

    /// What is remembered of it: all but the channels.
    pub(super) fn brief(&self) -> Map<String, Value> {
        // Numbers and texts are always JSON.
        let Ok(Value::Object(mut members)) = serde_json::to_value(self) else {
            return Map::new();
        };
        for side in ["in", "out"] {
            if let Some(Value::Object(side)) = members.get_mut(side) {
                side.remove("channels");
                side.remove("paths");
            }
        }
        members
    }

    /// Prints the result to stdout; as JSON on one line if there may be more.
    pub(super) fn print(&self, json: bool, more: bool) -> io::Result<()> {
        if json && more {
            return output::json_line(self);
        }
        if json {
            return output::json(self);
        }
        let side = |side: &SideReport| {
            format!(
                "{} ({}, {} channels)",
                Bytes(side.transferred),
                side.multifd_compression,
                side.multifd_channels
            )
        };
        let number = match more {
            true => format!("{}: ", self.name),
            false => String::new(),
        };
        output::line(format_args!(
            "{number}passed on {} of memory: {} in, {} out (ratio {:.2})",
            Bytes(self.ram.guest_bytes),
            side(&self.r#in),
            side(&self.out),
            self.out.ratio,
        ))?;
        output::line(format_args!(
            "{number}total time {:.0} ms, delay of a packet {:.2} ms, of the last barrier {:.2} ms",
            self.total_time, self.delay.packets.mean, self.delay.barriers.last,
        ))
    }
}

impl DelayReport {
    fn new(delay: &Delay) -> Self {
        let millis = |time: Duration| millis(time);
        Self {
            count: delay.count,
            mean: millis(delay.mean()),
            longest: millis(delay.longest),
            last: millis(delay.last),
        }
    }
}
