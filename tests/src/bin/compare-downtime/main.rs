// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that writes migrates between two real QEMUs and between two hypervisors of ours in turn, and
//! the down times are compared.
//!
//! Both guests write to the same number of pages per second, one after the other in a part of their
//! memory, and again from its start; both migrations may take the same down time. The figures are what
//! the sources report: from the guest's stop until the destination has confirmed.

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

mod args;
mod ours;
mod run;
mod theirs;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser as _;
use multifd_tests::arena::Arena;
use multifd_tests::command::Multifd;
use multifd_tests::guest::Paced;
use multifd_tests::peer::Qemu;

use args::Args;
use run::{Run, row};

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.runs > 0, "--runs is 0");
    let qemu = match Qemu::available() {
        Ok(binary) => binary,
        Err(reason) => bail!("{reason}"),
    };
    let multifd = Multifd::build()?;
    let guest = Paced::assemble(args.rate, args.working_set << 20)?;
    let arena = Arena::new(&args.folder, args.memory << 20).context("guest memory")?;
    arena.fill(&args.fill).context("filling the guest memory")?;
    println!(
        "{} MiB of guest memory; the guest writes to {} pages per second of {} MiB; {} channels; \
         down time up to {} ms; {} runs",
        args.memory,
        u64::from(args.rate) * 1000,
        args.working_set,
        args.channels,
        args.downtime_limit,
        args.runs
    );
    run::print_head();
    for method in &args.methods {
        let mut theirs = Vec::new();
        let mut own: [Vec<Run>; 2] = Default::default();
        for number in 0..=args.runs {
            let run = theirs::run(&qemu, &guest, &arena, *method, &args);
            theirs.push(run.with_context(|| format!("QEMU, {method}, run {number}"))?);
            for (threads, runs) in [false, true].into_iter().zip(&mut own) {
                let run = ours::run(&multifd, *method, threads, &args);
                runs.push(run.with_context(|| format!("ours, {method}, run {number}"))?);
            }
        }
        let [own, threads] = own;
        // The first ones find everything new.
        let counted = |runs: &[Run]| runs.get(1..).unwrap_or_default().to_vec();
        let theirs = counted(&theirs);
        for runs in [&theirs, &counted(&own), &counted(&threads)] {
            row(*method, runs, &theirs);
        }
    }
    Ok(())
}
