// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd advise`: which method, which level, how many channels.
//!
//! `sample` takes memory, `measure` and `engine` find out what things cost, `model` predicts, `rules` and
//! `choice` decide. `check` compares predictions with migrations.

mod adaptive;
mod channel;
mod check;
mod choice;
mod cost;
mod engine;
mod hosts;
mod measure;
mod model;
mod report;
mod rules;
mod sample;
mod setting;
mod spent;
mod subject;

use crate::args::AdviseArgs;
use crate::doctor::{self, Devices};
use crate::ends::interrupt::Interrupt;
use crate::lab::pair::{Commands, Pairs};
use crate::show::exit_code::ExitCode;
use crate::show::output;
use crate::show::units::MemorySize;
use hosts::{hosts, source_cores};
use model::Guest;
use report::{Advice, Report};
use sample::Sample;
use setting::Settings;
use subject::{Measured, Subject};

pub(crate) fn run(args: &AdviseArgs) -> anyhow::Result<ExitCode> {
    let subjects = subject::all(args)?;
    let interrupt = Interrupt::install()?;
    let pairs = Pairs::new(interrupt, Commands::still(&args.accelerator.arguments()));
    if args.check {
        return check::run(args, &subjects, &pairs);
    }
    let (sample, memory) = sample(args)?;
    let measured = subject::measure_all(args, &subjects, &sample, &pairs)?;
    let report = report(args, &subjects, (&sample, memory), measured);
    if args.json {
        output::json(&report)?;
    } else {
        output::line(format_args!("{report}"))?;
    }
    Ok(ExitCode::Ok)
}

/// The sample, and the bytes of the guest's memory.
fn sample(args: &AdviseArgs) -> anyhow::Result<(Sample, u64)> {
    let most = args.sample.0;
    match &args.ram {
        Some(path) => {
            let (sample, len) = Sample::of_file(path, most)?;
            Ok((sample, args.memory.map_or(len, |memory| memory.0)))
        }
        None => {
            let memory = args.memory.unwrap_or(DEFAULT_MEMORY).0;
            Ok((
                Sample::filled(memory.min(MOST_FILLED), &args.fill, most)?,
                memory,
            ))
        }
    }
}

fn report(
    args: &AdviseArgs,
    subjects: &[Subject],
    (sample, memory): (&Sample, u64),
    measured: Measured,
) -> Report {
    let guest = Guest {
        pages: sample.pages_of(memory),
        dirty_rate: args.dirty_rate.0 as f64,
        downtime_limit: args.downtime_limit.duration().as_secs_f64(),
    };
    let devices = devices(args);
    let most = usize::from(args.channels);
    let can_adapt = subjects.iter().filter(|one| one.can_adapt());
    let mut can_adapt: Vec<_> = can_adapt.map(Subject::method).collect();
    can_adapt.dedup();
    let links = args.bandwidth.iter().map(|rate| {
        let hosts = hosts(args, rate.0);
        let candidates: Vec<_> = measured
            .codecs
            .iter()
            .map(|codec| choice::candidate(&measured, codec, &hosts, &guest, most))
            .collect();
        let choice = choice::choose(&candidates, &devices, most.min(source_cores(args).into()));
        let limit = args.downtime_limit.value();
        let set = choice.as_ref();
        Advice {
            set: set.map(|choice| Settings::of(choice, rate.0, limit)),
            choice,
            hosts,
            adaptive: can_adapt
                .iter()
                .filter_map(|method| adaptive::candidate(&measured, method, &hosts, &guest, most))
                .collect(),
            candidates,
        }
    });
    Report {
        memory,
        sample: sample.guest().len(),
        zero_share: sample.zero_share(),
        links: links.collect(),
        guest,
        devices,
        measured,
    }
}

/// What is given, and otherwise what was found here.
fn devices(args: &AdviseArgs) -> Devices {
    if args.accelerator.is_software() {
        return Devices::default();
    }
    let found = doctor::devices(&args.accelerator.libraries);
    Devices {
        qat: args.qat.map_or(found.qat, usize::from),
        iaa: args.iaa.map_or(found.iaa, usize::from),
        zip: found.zip,
        shared_memory: args.shared_memory.unwrap_or(found.shared_memory),
    }
}

/// As in demo.
const DEFAULT_MEMORY: MemorySize = MemorySize(1 << 30);
/// The content of a larger guest repeats itself anyway.
const MOST_FILLED: u64 = 1 << 30;
