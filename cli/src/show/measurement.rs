// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What one case took: the rows of the tables.

use serde::Serialize;

use crate::show::codec_paths::PathsReport;
use crate::show::rungs::RungReport;
use crate::show::table::Table;

/// The medians of a case's runs; times are milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Measurement {
    pub(crate) method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<u8>,
    pub(crate) channels: u8,
    pub(crate) max_bandwidth: u64,
    /// Whether all connections were encrypted.
    pub(crate) tls: bool,
    /// Whether the level was chosen for each packet.
    #[serde(rename = "adapt")]
    pub(crate) adapts: bool,
    /// What was chosen in the last run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rungs: Vec<RungReport>,
    pub(crate) runs: usize,
    pub(crate) total_time: f64,
    pub(crate) downtime: f64,
    pub(crate) setup_time: f64,
    pub(crate) mbps: f64,
    pub(crate) pages_per_second: f64,
    /// How often the dirty log was fetched, of a guest that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dirty_sync_count: Option<u64>,
    /// Percent of one processor, of the whole process.
    pub(crate) send_cpu: f64,
    /// Percent of one processor, of the whole process.
    pub(crate) recv_cpu: f64,
    pub(crate) ratio: f64,
    pub(crate) transferred: u64,
    /// Which implementation did the packets of the last run, at the source.
    pub(crate) send_paths: PathsReport,
    /// The same at the destination.
    pub(crate) recv_paths: PathsReport,
    /// Whether after every run all bytes of the destination were the source's, and a guest that ran
    /// went on with them.
    pub(crate) verified: bool,
}

impl Measurement {
    /// The method, with what is not as usual.
    pub(crate) fn name(&self) -> String {
        let level = self
            .level
            .map_or(String::new(), |level| format!(" {level}"));
        let adapts = if self.adapts { " adaptive" } else { "" };
        let tls = if self.tls { ", TLS" } else { "" };
        format!("{}{level}{adapts}{tls}", self.method)
    }
}

/// The table for humans, narrow enough for 80 columns: of guests that ran, the rounds are of interest.
pub(crate) fn table(measurements: &[Measurement]) -> Table {
    let ran = measurements
        .iter()
        .any(|row| row.dirty_sync_count.is_some());
    let mut table = Table::new([
        "method",
        "chan-\nnels",
        "total\ntime\n(ms)",
        "down-\ntime\n(ms)",
        "through-\nput\n(mbps)",
        if ran { "rounds" } else { "pages\nper\nsecond" },
        "send\ncpu %",
        "recv\ncpu %",
        "ratio",
        "path",
        "verified",
    ]);
    for row in measurements {
        table.row([
            row.name(),
            row.channels.to_string(),
            format!("{:.0}", row.total_time),
            format!("{:.1}", row.downtime),
            format!("{:.0}", row.mbps),
            match row.dirty_sync_count {
                Some(rounds) => rounds.to_string(),
                None => format!("{:.0}", row.pages_per_second),
            },
            format!("{:.0}", row.send_cpu),
            format!("{:.0}", row.recv_cpu),
            format!("{:.2}", row.ratio),
            PathsReport::cell(&row.send_paths, &row.recv_paths),
            if row.verified { "yes" } else { "no" }.into(),
        ]);
    }
    table
}
