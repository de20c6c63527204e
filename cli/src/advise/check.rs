// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd advise --check`: predictions against migrations.

use serde::{Deserialize, Serialize};

use super::cost::Sides;
use super::hosts::hosts;
use super::model::{self, Guest, Hosts, Prediction};
use super::sample::Sample;
use super::subject::{Measured, Subject, measure_all};
use crate::args::AdviseArgs;
use crate::lab::fill::or_usual;
use crate::lab::guest;
use crate::lab::measurement::{Case, median};
use crate::lab::pair::{PairReport, Pairs};
use crate::show::exit_code::ExitCode;
use crate::show::output;
use crate::show::screen;
use crate::show::table::Table;
use crate::show::units::MemorySize;

/// All that the predictions were made of, and what the migrations took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    measured: Measured,
    guest: Guest,
    runs: Vec<Run>,
}

/// The medians of some migrations, in seconds and bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Run {
    method: String,
    level: Option<u8>,
    channels: u8,
    hosts: Hosts,
    total_time: f64,
    downtime: f64,
    cpu: Sides,
    transferred: f64,
}

pub(crate) fn run(
    args: &AdviseArgs,
    subjects: &[Subject],
    pairs: &Pairs,
) -> anyhow::Result<ExitCode> {
    let memory = args.memory.unwrap_or(MEMORY).0;
    let guest = guest::Guest::new(memory, &or_usual(&args.fill))?;
    let sample = Sample::of(guest.source(), memory, args.sample.0)?;
    let mut cases = cases(subjects);
    let mut measured = Vec::new();
    // All in turn, so that whatever else happens on the host meets all of it alike.
    for round in 1..=ROUNDS {
        output::message(format_args!("round {round} of {ROUNDS}"));
        measured.push(measure_all(args, subjects, &sample, pairs)?);
        for (case, reports) in &mut cases {
            reports.push(migrate(case, &guest, pairs)?);
        }
    }
    let runs = cases.iter();
    let record = Record {
        measured: Measured::median(&measured),
        guest: Guest {
            pages: sample.pages_of(memory),
            dirty_rate: 0.0,
            downtime_limit: args.downtime_limit.duration().as_secs_f64(),
        },
        runs: runs
            .map(|(case, reports)| Run::of(case, reports, hosts(args, case.max_bandwidth)))
            .collect(),
    };
    if args.json {
        output::message(format_args!("{}", record.table()));
        output::json(&record)?;
    } else {
        let table = record.table().within(screen::columns());
        output::line(format_args!("{table}"))?;
    }
    Ok(ExitCode::Ok)
}

/// Each method with each limit, and room for its reports.
fn cases(subjects: &[Subject]) -> Vec<(Case, Vec<PairReport>)> {
    let cases = LIMITS.iter().flat_map(|(max_bandwidth, channels)| {
        subjects.iter().map(|subject| Case {
            method: subject.method().into(),
            level: subject.level,
            channels: *channels,
            max_bandwidth: *max_bandwidth,
            tls: false,
            adapts: false,
        })
    });
    cases.map(|case| (case, Vec::new())).collect()
}

fn migrate(case: &Case, guest: &guest::Guest, pairs: &Pairs) -> anyhow::Result<PairReport> {
    guest.spoil_destination()?;
    let report = pairs.run(guest, &case.settings().into(), &case.label())?;
    let (label, time) = (case.label(), report.source.total_time);
    let (channels, limit) = (case.channels, case.max_bandwidth);
    output::message(format_args!(
        "{label}, {channels} channels, at most {limit} bytes/s: {time:.0} ms"
    ));
    Ok(report)
}

impl Run {
    fn of(case: &Case, reports: &[PairReport], hosts: Hosts) -> Self {
        let median = |value: fn(&PairReport) -> f64| median(reports.iter().map(value).collect());
        Self {
            method: case.method.clone(),
            level: case.level,
            channels: case.channels,
            hosts,
            total_time: median(|run| run.source.total_time) / 1e3,
            downtime: median(|run| run.source.downtime) / 1e3,
            cpu: Sides {
                send: median(|run| run.source.cpu.time) / 1e3,
                recv: median(|run| run.destination.cpu.time) / 1e3,
            },
            transferred: median(|run| run.source.ram.transferred as f64),
        }
    }
}

impl Record {
    /// What the model says of a run.
    fn predict(&self, run: &Run) -> Option<Prediction> {
        let mut codecs = self.measured.codecs.iter();
        let codec = codecs.find(|one| one.method == run.method && one.level == run.level)?;
        let channels = run.channels.into();
        let engine = self.measured.engine(channels);
        Some(model::predict(
            engine,
            codec,
            &run.hosts,
            &self.guest,
            channels,
        ))
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            "method",
            "chan-\nnels",
            "link\n(MiB/s)",
            "limited by",
            "time\npredicted\n(s)",
            "measured\n(s)",
            "error\n(%)",
            "cores\npredicted\n(s)",
            "measured\n(s)",
            "error\n(%)",
            "bytes\nerror\n(%)",
        ]);
        for run in &self.runs {
            let Some(prediction) = self.predict(run) else {
                continue;
            };
            let error = |predicted: f64, measured: f64| {
                format!("{:+.1}", 100.0 * (predicted / measured - 1.0))
            };
            let (time, cpu) = (prediction.total_time, prediction.cpu.sum());
            let mib = |rate: f64| format!("{:.0}", rate / (1024.0 * 1024.0));
            let level = run.level.map_or(String::new(), |level| format!(" {level}"));
            table.row([
                format!("{}{level}", run.method),
                run.channels.to_string(),
                run.hosts.bandwidth.map_or("-".into(), mib),
                prediction.bound.name().into(),
                format!("{time:.2}"),
                format!("{:.2}", run.total_time),
                error(time, run.total_time),
                format!("{cpu:.2}"),
                format!("{:.2}", run.cpu.sum()),
                error(cpu, run.cpu.sum()),
                error(prediction.transferred, run.transferred),
            ]);
        }
        table
    }
}

/// Bytes per second and channels: a rate that every method waits for, one that some wait for, and none,
/// with as many channels as QEMU has by default and with one.
const LIMITS: [(u64, u8); 4] = [(100 << 20, 2), (400 << 20, 2), (0, 2), (0, 1)];
const ROUNDS: usize = 3;
/// Enough for the start and the end of a migration not to count.
const MEMORY: MemorySize = MemorySize(512 << 20);

#[cfg(test)]
mod tests {
    use super::super::model::Bound;
    use super::*;

    /// What `multifd advise --check --json` printed with nothing else on the cores.
    fn record() -> Record {
        serde_json::from_str(include_str!("../../tests/data/advise-check.json")).unwrap()
    }

    fn within(what: &str, predicted: f64, measured: f64, share: f64) {
        let error = predicted / measured - 1.0;
        assert!(
            error.abs() <= share,
            "{what}: predicted {predicted}, measured {measured}, {:+.1} %",
            100.0 * error
        );
    }

    #[test]
    fn what_was_measured_was_predicted() {
        let record = record();
        for run in &record.runs {
            let prediction = record.predict(run).unwrap();
            let limit = run.hosts.bandwidth.unwrap_or(f64::INFINITY);
            let about = format!(
                "{} at {limit} bytes/s, {} channels",
                run.method, run.channels
            );
            within(
                &format!("time of {about}"),
                prediction.total_time,
                run.total_time,
                0.2,
            );
            within(
                &format!("bytes of {about}"),
                prediction.transferred,
                run.transferred,
                0.05,
            );
            // The guest stands still: its downtime is the switchover's.
            let downtimes = (prediction.downtime, run.downtime);
            assert!(
                (downtimes.0 - downtimes.1).abs() < 0.02,
                "{about}: {downtimes:?}"
            );
            // Threads that wait for a link are woken up more often, which is not predicted.
            if prediction.bound == Bound::Link {
                continue;
            }
            let (cpu, measured) = (prediction.cpu.sum(), run.cpu.sum());
            within(&format!("cores' time of {about}"), cpu, measured, 0.2);
        }
    }

    #[test]
    fn the_record_has_what_it_takes() {
        let record = record();
        for method in ["none", "zlib", "zstd", "qatzip"] {
            let runs = record.runs.iter().filter(|run| run.method == method);
            let limits: Vec<_> = runs
                .clone()
                .map(|run| (run.hosts.bandwidth.unwrap_or(0.0), run.channels))
                .collect();
            let wanted = LIMITS.map(|(limit, channels)| (limit as f64, channels));
            assert_eq!(limits, wanted, "{method}");
            assert!(runs.clone().all(|run| run.hosts.shared), "{method}");
        }
        // The rates are chosen so that each limit is met.
        let bounds: Vec<_> = record
            .runs
            .iter()
            .filter_map(|run| record.predict(run))
            .map(|prediction| prediction.bound)
            .collect();
        let count = |bound| bounds.iter().filter(|one| **one == bound).count();
        assert!(
            count(Bound::Link) >= 4 && count(Bound::SharedCores) >= 4,
            "{bounds:?}"
        );
    }
}
