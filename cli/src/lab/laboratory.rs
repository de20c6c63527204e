// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What `demo` and `bench` have in common: a guest, pairs of processes that migrate it, and a look at
//! what arrived.

use std::path::PathBuf;
use std::thread;

use multifd_core::MethodOptions;
use multifd_demo_vmm::Processors;
use serde_json::json;

use crate::args::{AdaptArgs, GuestArgs, WorkloadArgs};
use crate::ends::interrupt::Interrupt;
use crate::ends::methods;
use crate::lab::credentials::Credentials;
use crate::lab::fill::{ZERO_PERCENT, or_usual};
use crate::lab::guest::Guest;
use crate::lab::measurement::Case;
use crate::lab::pair::{Commands, PairReport, Pairs, Told};
use crate::lab::vm;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::measurement::{self, Measurement};
use crate::show::output;
use crate::show::page::{self, PageRun};
use crate::show::rungs;
use crate::show::screen;
use crate::show::units::Bytes;

/// A guest that is migrated again and again.
pub(crate) struct Laboratory {
    guest: Guest,
    fill: Vec<PathBuf>,
    /// What the guest does, if it runs.
    workload: Option<WorkloadArgs>,
    pairs: Pairs,
    /// Of cases over TLS.
    credentials: Option<Credentials>,
    page: Option<PathBuf>,
    json: bool,
    /// How sources choose compression, where they do.
    adapt: AdaptArgs,
}

/// One run, and whether all of the memory arrived as it was.
pub(crate) struct Run {
    pub(crate) report: PairReport,
    pub(crate) verified: bool,
}

impl Laboratory {
    /// A guest with a workload runs; memory without one stands still. `set` is for both sides.
    pub(crate) fn new(
        args: &GuestArgs,
        workload: Option<&WorkloadArgs>,
        set: &[String],
    ) -> anyhow::Result<Self> {
        let interrupt = Interrupt::install()?;
        let fill = or_usual(&args.fill);
        let guest = match workload {
            // Filled before each run.
            Some(_) => Guest::empty(args.memory.0)?,
            None => Guest::new(args.memory.0, &fill)?,
        };
        let laboratory = Self {
            guest,
            fill,
            workload: workload.cloned(),
            credentials: args.tls.then(Credentials::new).transpose()?,
            pairs: Pairs::new(interrupt, commands(args, workload, set)),
            page: args.report.clone(),
            json: args.json,
            adapt: args.adapt.clone(),
        };
        output::message(format_args!("{}", laboratory.description()));
        Ok(laboratory)
    }

    /// Migrates once. `note` says which run it is, for the progress shown.
    pub(crate) fn run(&self, case: &Case, note: &str) -> anyhow::Result<Run> {
        if self.workload.is_some() {
            self.guest.fill(&self.fill)?;
        }
        self.guest.spoil_destination()?;
        let label = format!("{}{note}", case.label());
        let mut settings = case.settings();
        let credentials = self.credentials.iter().filter(|_| case.tls);
        settings.extend(credentials.map(Credentials::setting));
        let source = self.adapt.arguments(case.adapts);
        let report = self
            .pairs
            .run(&self.guest, &Told { settings, source }, &label)?;
        let wrong = self.look(&report)?;
        match &wrong {
            None => {
                let (total, time) = (Bytes(self.guest.len()), report.source.total_time);
                let rounds = rounds(&report);
                let levels = levels(&report);
                output::message(format_args!(
                    "{label}: {total} in {time:.0} ms, {rounds}verified{levels}"
                ));
            }
            Some(wrong) => output::message(format_args!("{label}: {wrong}")),
        }
        Ok(Run {
            report,
            verified: wrong.is_none(),
        })
    }

    /// What is wrong with what arrived.
    fn look(&self, report: &PairReport) -> anyhow::Result<Option<String>> {
        if let Some(offset) = self.guest.first_difference()? {
            let what = format!("the memory that arrived differs from offset {offset:#x} on");
            return Ok(Some(what));
        }
        Ok(
            match (&report.source.guest_check, &report.destination.guest_check) {
                (Some(source), Some(destination)) => vm::verdict(source, destination).err(),
                _ => None,
            },
        )
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
                "guest": self.workload.as_ref().map(|workload| json!({
                    "processors": workload.processors().0.to_string(),
                    "vcpus": workload.vcpus,
                    "dirty-rate": workload.dirty_rate.0,
                    "pattern": workload.pattern.name(),
                    "working-set": workload.working_set(self.guest.len()),
                })),
                "processors": processors(),
                "results": measurements,
            }))?;
        } else {
            let table = measurement::table(measurements);
            output::line(format_args!("{}", table.within(screen::columns())))?;
        }
        let verified = measurements.iter().all(|row| row.verified);
        Ok(if verified {
            ExitCode::Ok
        } else {
            ExitCode::Differs
        })
    }

    fn description(&self) -> String {
        let fill: Vec<_> = self
            .fill
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut text = format!(
            "{} of guest memory: {ZERO_PERCENT} % zero pages, the others from {}\n",
            Bytes(self.guest.len()),
            fill.join(", "),
        );
        if let Some(workload) = &self.workload {
            text.push_str(&describe(workload, self.guest.len()));
        }
        let processors = processors();
        text.push_str(&format!(
            "source and destination: two processes, {processors} processors, tcp over 127.0.0.1"
        ));
        text
    }
}

/// What a guest does, and on what: one line.
fn describe(workload: &WorkloadArgs, memory: u64) -> String {
    let (count, plural) = match workload.vcpus {
        1 => ("a".to_owned(), ""),
        count => (count.to_string(), "s"),
    };
    let vcpus = match workload.processors() {
        (Processors::Kvm, _) => format!("{count} vCPU{plural} of KVM"),
        (Processors::Threads, why) => {
            let why = why.unwrap_or_default();
            format!("{count} thread{plural} for vCPU{plural} ({why})")
        }
    };
    let rate = match workload.dirty_rate.0 {
        0 => "as fast as it can".to_owned(),
        rate => format!("{} a second", Bytes(rate)),
    };
    format!(
        "guest: {vcpus}, writes {rate}, {} pages of {}\n",
        workload.pattern,
        Bytes(workload.working_set(memory)),
    )
}

/// What to start for each side.
fn commands(args: &GuestArgs, workload: Option<&WorkloadArgs>, set: &[String]) -> Commands {
    let mut arguments = args.accelerator.arguments();
    for setting in set {
        arguments.extend(["--set".into(), setting.clone()]);
    }
    if args.report.is_some() {
        arguments.push("--timeline".into());
    }
    match workload {
        None => Commands::still(&arguments),
        Some(workload) => {
            arguments.extend(workload.arguments(args.memory.0));
            Commands::running(&arguments)
        }
    }
}

/// What a guest that ran went through, for the line of its run.
fn rounds(report: &PairReport) -> String {
    match (
        &report.source.guest_check,
        report.source.ram.dirty_sync_count,
    ) {
        (Some(_), Some(rounds)) => {
            let downtime = report.source.downtime;
            format!("{rounds} rounds, paused for {downtime:.1} ms, ")
        }
        _ => String::new(),
    }
}

/// What a source chose that adapts, for the line of its run.
fn levels(report: &PairReport) -> String {
    match report.source.rungs.as_slice() {
        [] => String::new(),
        rungs => format!(", packets by level: {}", rungs::line(rungs)),
    }
}

/// Whether a method is to adapt, and has something to choose from for each packet.
pub(crate) fn adapts(args: &GuestArgs, method: &str) -> anyhow::Result<bool> {
    if !args.adapt.adapt {
        return Ok(false);
    }
    let method = methods::registry()?.open(method, &MethodOptions::new())?;
    Ok(method.ladder().len() > 1)
}

/// Without TLS, and with it if that is to be measured, too.
pub(crate) fn ways(args: &GuestArgs) -> impl Iterator<Item = bool> {
    [false, true].into_iter().filter(|tls| args.tls || !tls)
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
