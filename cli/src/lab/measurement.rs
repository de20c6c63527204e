// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Cases, and the medians of what their runs took.

use crate::lab::pair::PairReport;
use crate::show::measurement::Measurement;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) method: String,
    /// `None` is the method's default.
    pub(crate) level: Option<u8>,
    pub(crate) channels: u8,
    /// Bytes per second; 0 is unlimited.
    pub(crate) max_bandwidth: u64,
    pub(crate) tls: bool,
    /// Whether the level is chosen for each packet.
    pub(crate) adapts: bool,
}

impl Case {
    /// What both sides are set to.
    pub(crate) fn settings(&self) -> Vec<String> {
        let Self {
            method,
            channels,
            max_bandwidth,
            ..
        } = self;
        let mut settings = vec![
            format!("multifd-compression={method}"),
            format!("multifd-channels={channels}"),
            format!("max-bandwidth={max_bandwidth}"),
        ];
        settings.extend(self.level.map(|level| level_setting(method, level)));
        settings
    }

    /// Its name, with what is not as usual.
    pub(crate) fn label(&self) -> String {
        let level = self.level.map(|level| format!(" level {level}"));
        let tls = if self.tls { ", TLS" } else { "" };
        let adapts = if self.adapts { " adaptive" } else { "" };
        let level = level.unwrap_or_default();
        format!("{}{level}{adapts}{tls}", self.method)
    }
}

/// The assignment that gives a method a level.
pub(crate) fn level_setting(method: &str, level: u8) -> String {
    format!("multifd-{method}-level={level}")
}

/// The medians of `runs`, which is not empty.
pub(crate) fn medians(case: &Case, runs: &[PairReport], verified: bool) -> Measurement {
    let median = |value: fn(&PairReport) -> f64| median(runs.iter().map(value).collect());
    Measurement {
        method: case.method.clone(),
        level: case.level,
        channels: case.channels,
        max_bandwidth: case.max_bandwidth,
        tls: case.tls,
        adapts: case.adapts,
        rungs: last(runs, |run| &run.source.rungs),
        runs: runs.len(),
        total_time: median(|run| run.source.total_time),
        downtime: median(|run| run.source.downtime),
        setup_time: median(|run| run.source.setup_time),
        mbps: median(|run| run.source.ram.mbps),
        pages_per_second: median(|run| run.source.ram.pages_per_second),
        dirty_sync_count: rounds(runs),
        send_cpu: median(|run| run.source.cpu.percent),
        recv_cpu: median(|run| run.destination.cpu.percent),
        ratio: median(|run| run.source.ratio),
        transferred: whole_median(runs.iter().map(|run| run.source.ram.transferred).collect()),
        send_paths: last(runs, |run| &run.source.paths),
        recv_paths: last(runs, |run| &run.destination.paths),
        verified,
    }
}

fn last<T: Clone + Default>(runs: &[PairReport], part: fn(&PairReport) -> &T) -> T {
    runs.last().map(part).cloned().unwrap_or_default()
}

/// The median of the rounds, if the guests ran.
fn rounds(runs: &[PairReport]) -> Option<u64> {
    let ran = runs.iter().filter(|run| run.source.guest_check.is_some());
    let rounds: Vec<_> = ran
        .filter_map(|run| run.source.ram.dirty_sync_count)
        .collect();
    (!rounds.is_empty()).then(|| whole_median(rounds))
}

/// The middle value, or the mean of the two in the middle; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (upper, lower) = (values.len() / 2, values.len().saturating_sub(1) / 2);
    match (values.get(lower), values.get(upper)) {
        (Some(lower), Some(upper)) => f64::midpoint(*lower, *upper),
        _ => 0.0,
    }
}

/// The middle value, the lower one of two.
fn whole_median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(whole_median(vec![9, 1, 5, 7]), 5);
        assert_eq!(whole_median(vec![]), 0);
    }

    #[test]
    fn a_case_is_settings() {
        let case = Case {
            method: "zstd".into(),
            level: Some(3),
            channels: 4,
            max_bandwidth: 1 << 20,
            tls: true,
            adapts: false,
        };
        let want = [
            "multifd-compression=zstd",
            "multifd-channels=4",
            "max-bandwidth=1048576",
            "multifd-zstd-level=3",
        ];
        assert_eq!(case.settings(), want);
        assert_eq!(case.label(), "zstd level 3, TLS");
        let case = Case {
            level: None,
            adapts: true,
            ..case
        };
        assert_eq!(case.label(), "zstd adaptive, TLS");
    }
}
