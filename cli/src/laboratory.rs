//! What `demo` and `bench` have in common: a guest, pairs of processes that migrate it, and a look at
//! what arrived.

use std::path::PathBuf;
use std::thread;

use indicatif::HumanBytes;
use serde_json::json;

use crate::args::GuestArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::fill::{ZERO_PERCENT, or_usual};
use crate::guest::Guest;
use crate::interrupt::Interrupt;
use crate::measurement::{self, Case, Measurement};
use crate::page::{self, PageRun};
use crate::pair::{PairReport, Pairs};
use crate::{methods, output};

/// A guest that is migrated again and again.
pub(crate) struct Laboratory {
    guest: Guest,
    fill: Vec<String>,
    pairs: Pairs,
    page: Option<PathBuf>,
    json: bool,
}

/// One run, and whether all of the memory arrived as it was.
pub(crate) struct Run {
    pub(crate) report: PairReport,
    pub(crate) verified: bool,
}

impl Laboratory {
    pub(crate) fn new(args: &GuestArgs) -> anyhow::Result<Self> {
        let interrupt = Interrupt::install()?;
        let fill = or_usual(&args.fill);
        let mut arguments = args.accelerator.arguments();
        if args.report.is_some() {
            arguments.push("--timeline".into());
        }
        let laboratory = Self {
            guest: Guest::new(args.memory.0, &fill)?,
            fill: fill.iter().map(|path| path.display().to_string()).collect(),
            pairs: Pairs::new(interrupt, arguments),
            page: args.report.clone(),
            json: args.json,
        };
        output::message(format_args!("{}", laboratory.description()));
        Ok(laboratory)
    }

    /// Migrates once. `note` says which run it is, for the progress shown.
    pub(crate) fn run(&self, case: &Case, note: &str) -> anyhow::Result<Run> {
        self.guest.spoil_destination()?;
        let label = format!("{}{note}", case.label());
        let report = self.pairs.run(&self.guest, &case.settings(), &label)?;
        let difference = self.guest.first_difference()?;
        match difference {
            None => {
                let (total, time) = (HumanBytes(self.guest.len()), report.source.total_time);
                output::message(format_args!("{label}: {total} in {time:.0} ms, verified"));
            }
            Some(offset) => output::message(format_args!(
                "{label}: the memory that arrived differs from offset {offset:#x} on"
            )),
        }
        Ok(Run {
            report,
            verified: difference.is_none(),
        })
    }

    /// Prints the result, and answers whether it is a good one. `last` has the last run of each
    /// case.
    pub(crate) fn print(
        &self,
        measurements: &[Measurement],
        last: &[PairReport],
    ) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.page {
            let runs = measurements.iter().zip(last).map(|(row, run)| PageRun {
                source: &run.source,
                destination: &run.destination,
                row,
            });
            let runs: Vec<_> = runs.collect();
            let description = self.description();
            let about: Vec<_> = description.lines().map(String::from).collect();
            page::write(path, &about, &runs)?;
        }
        if self.json {
            output::json(&json!({
                "memory": self.guest.len(),
                "zero-percent": ZERO_PERCENT,
                "fill": self.fill,
                "processors": processors(),
                "results": measurements,
            }))?;
        } else {
            output::line(format_args!("{}", measurement::table(measurements)))?;
        }
        let verified = measurements.iter().all(|row| row.verified);
        Ok(if verified {
            ExitCode::Ok
        } else {
            ExitCode::Differs
        })
    }

    fn description(&self) -> String {
        format!(
            "{} of guest memory: {ZERO_PERCENT} % zero pages, the others from {}\n\
             source and destination: two processes, {} processors, tcp over 127.0.0.1",
            HumanBytes(self.guest.len()),
            self.fill.join(", "),
            processors(),
        )
    }
}

/// The methods to measure: those that are named, or all.
pub(crate) fn methods(named: &[String]) -> anyhow::Result<Vec<String>> {
    let registry = methods::registry()?;
    let known: Vec<_> = registry.names().map(String::from).collect();
    if named.is_empty() {
        return Ok(known);
    }
    match named.iter().find(|name| !known.contains(name)) {
        None => Ok(named.to_vec()),
        Some(unknown) => {
            let known = known.join(", ");
            let what = format!("no method is named {unknown:?}, wanted some of {known}");
            Err(Failure::usage(what).into())
        }
    }
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}
