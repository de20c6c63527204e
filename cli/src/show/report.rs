// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a migration took, for humans and for programs.

use std::io;
use std::time::Duration;

use multifd_core::{ChannelStats, MultifdMethods};
use multifd_migration::source::{DownTime, RoundInfo};
use multifd_migration::{Report, RunState};
use serde::{Deserialize, Serialize};

use crate::show::clock::millis;
use crate::show::codec_paths::PathsReport;
use crate::show::early::EarlyReport;
use crate::show::output;
use crate::show::rungs::{self, RungReport};
use crate::show::timeline::Sample;
use crate::show::units::Bytes;
use crate::show::whereabouts::Whereabouts;

/// The result of a completed migration. Where QEMU's `query-migrate` has a member, the name and the
/// unit are the same; times are milliseconds, with a fraction.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MigrationReport {
    pub(crate) status: String,
    /// `source` or `destination`.
    pub(crate) side: String,
    /// The address that was connected to or listened on.
    pub(crate) socket_address: String,
    pub(crate) multifd_compression: String,
    /// What was to compress or decompress when the migration started; `paths` says what did.
    pub(crate) implementation: String,
    pub(crate) multifd_channels: usize,
    pub(crate) total_time: f64,
    pub(crate) downtime: f64,
    pub(crate) setup_time: f64,
    pub(crate) ram: RamReport,
    /// Bytes of guest memory per byte on the wire.
    pub(crate) ratio: f64,
    pub(crate) cpu: CpuReport,
    pub(crate) channels: Vec<ChannelReport>,
    /// Over all channels.
    pub(crate) paths: PathsReport,
    /// What was chosen for the packets, if that was chosen for each; only at the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rungs: Vec<RungReport>,
    /// The last rounds; only at the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounds: Vec<RoundInfo>,
    /// Where the downtime went; only at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) downtime_items: Option<DownTime>,
    /// How it went over time, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) timeline: Vec<Sample>,
    /// Where the guest is: `there` at the source, `here` at the destination.
    pub(crate) guest: String,
    /// Whether it was paused when it was migrated, and stays so; only if it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) paused: bool,
    /// What the guest did that ran meanwhile, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guest_check: Option<GuestSummary>,
    /// The device sections that came; only at the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) devices: Option<DevicesReport>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RamReport {
    pub(crate) transferred: u64,
    pub(crate) multifd_bytes: u64,
    pub(crate) remaining: u64,
    pub(crate) total: u64,
    /// Pages that were sent.
    pub(crate) normal: u64,
    pub(crate) normal_bytes: u64,
    /// Zero pages that the channels have named.
    pub(crate) duplicate: u64,
    pub(crate) page_size: u64,
    /// How often the dirty log was fetched; only at the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dirty_sync_count: Option<u64>,
    pub(crate) mbps: f64,
    pub(crate) pages_per_second: f64,
}

/// Time of all processors that the process took while it migrated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CpuReport {
    pub(crate) time: f64,
    /// Of one processor, over the total time: two busy ones are 200.
    pub(crate) percent: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ChannelReport {
    pub(crate) packets: u64,
    pub(crate) normal: u64,
    pub(crate) duplicate: u64,
    pub(crate) guest_bytes: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) cpu_time: f64,
    pub(crate) waited_for_work: f64,
    pub(crate) waited_for_connection: f64,
    pub(crate) paths: PathsReport,
}

/// What a guest did that checks its own memory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GuestSummary {
    /// Pages that it had written to before it ran on this side.
    pub(crate) written_before: u64,
    /// The same at its end on this side.
    pub(crate) written: u64,
    /// Pages whose content it has found right.
    pub(crate) checked: u64,
    /// What it has found wrong.
    pub(crate) failures: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DevicesReport {
    /// Bytes behind RAM: sections, end mark and VM description.
    pub(crate) bytes: usize,
    /// The names, if a VM description leads through the sections.
    pub(crate) sections: Option<Vec<String>>,
    /// The file that they are in; none if they were dropped.
    pub(crate) file: Option<String>,
    /// What devices sent before the end of the memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) early: Vec<EarlyReport>,
    /// The file that this is in; none if it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) early_file: Option<String>,
}

/// Whose report it is.
pub(crate) struct About<'a> {
    pub(crate) side: &'static str,
    pub(crate) guest: Whereabouts,
    pub(crate) address: String,
    pub(crate) method: &'a dyn MultifdMethods,
    /// Of the process, while it migrated.
    pub(crate) cpu_time: Duration,
}

impl MigrationReport {
    pub(crate) fn new(report: &Report, about: About<'_>) -> Self {
        let total = report.channels.total();
        Self {
            status: "completed".into(),
            side: about.side.into(),
            socket_address: about.address,
            multifd_compression: about.method.name().into(),
            implementation: about.method.implementation().to_string(),
            multifd_channels: report.channels.channels.len(),
            total_time: millis(report.total_time),
            downtime: millis(report.down_time),
            setup_time: millis(report.setup_time),
            ram: RamReport {
                transferred: report.transferred(),
                multifd_bytes: total.wire_bytes,
                remaining: 0,
                total: report.ram_bytes,
                normal: total.normal_pages,
                normal_bytes: total.normal_pages * report.page_size,
                duplicate: report.zero_pages(),
                page_size: report.page_size,
                dirty_sync_count: None,
                mbps: report.mbps(),
                pages_per_second: report.pages_per_second(),
            },
            ratio: report.ratio(),
            cpu: CpuReport {
                time: millis(about.cpu_time),
                percent: 100.0 * about.cpu_time.as_secs_f64()
                    / report.total_time.as_secs_f64().max(1e-9),
            },
            channels: report
                .channels
                .channels
                .iter()
                .map(ChannelReport::new)
                .collect(),
            paths: PathsReport::new(&report.channels.total().paths),
            rungs: RungReport::all(&total),
            rounds: Vec::new(),
            downtime_items: report.down_time_items,
            timeline: Vec::new(),
            guest: about.guest.name().into(),
            paused: report.run_state == Some(RunState::Paused),
            guest_check: None,
            devices: None,
        }
    }

    /// Prints the result to stdout.
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        if json {
            return output::json(self);
        }
        let (method, channels) = (&self.multifd_compression, self.multifd_channels);
        let verb = if self.side == "source" {
            "sent"
        } else {
            "received"
        };
        output::line(format_args!(
            "{verb} {} of memory as {} over {channels} channels with {method} (ratio {:.2})",
            Bytes(self.ram.total),
            Bytes(self.ram.transferred),
            self.ratio,
        ))?;
        output::line(format_args!(
            "total time {:.0} ms, downtime {:.1} ms, {:.0} mbps, {:.0} pages/s, cpu {:.0} %",
            self.total_time,
            self.downtime,
            self.ram.mbps,
            self.ram.pages_per_second,
            self.cpu.percent,
        ))?;
        if !self.rungs.is_empty() {
            output::line(format_args!(
                "packets by level: {}",
                rungs::line(&self.rungs)
            ))?;
        }
        let guest = match self.side.as_str() {
            "source" => Whereabouts::Left,
            _ => Whereabouts::Arrived,
        };
        let paused = if self.paused {
            ", and stays paused"
        } else {
            ""
        };
        output::line(format_args!("{}{paused}", guest.sentence()))
    }
}

impl ChannelReport {
    pub(crate) fn new(stats: &ChannelStats) -> Self {
        Self {
            packets: stats.packets,
            normal: stats.normal_pages,
            duplicate: stats.zero_pages,
            guest_bytes: stats.guest_bytes,
            wire_bytes: stats.wire_bytes,
            cpu_time: millis(stats.cpu_time),
            waited_for_work: millis(stats.waited_for_work),
            waited_for_connection: millis(stats.waited_for_connection),
            paths: PathsReport::new(&stats.paths),
        }
    }
}
