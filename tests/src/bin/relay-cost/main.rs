// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay costs in down time: a guest that runs migrates from one QEMU to another in turn directly, through
//! one relay, and through two.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin relay-cost
//! ```

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

mod table;
mod way;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use multifd_tests::guest::Counter;
use multifd_tests::interop;

use table::Figures;
use way::{Run, WAYS};

/// Measures what relays add to QEMU's down time, in one run.
#[derive(Debug, Parser)]
struct Args {
    /// MiB of the guest that does nothing; 0 for none
    #[arg(long, default_value_t = 256)]
    idle: u64,
    /// MiB of guests that write over all of their memory for ever
    #[arg(long, value_delimiter = ',', num_args = 0.., default_value = "8,64")]
    writing: Vec<u64>,
    /// Runs of each way that count; one more of each comes before
    #[arg(long, default_value_t = 9)]
    runs: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.runs > 0, "--runs is 0");
    let lab = interop::require()?.context("this machine lacks what it takes, see above")?;
    println!(
        "{} processors, {} runs of each, one after the other; median, shortest and longest",
        std::thread::available_parallelism()?,
        args.runs
    );
    table::print_head();
    let idle = (args.idle > 0).then_some((args.idle, false));
    let writing = args.writing.iter().map(|mib| (*mib, true));
    for (mib, writes) in idle.into_iter().chain(writing) {
        let bytes = mib << 20;
        let counter = writes.then(|| Counter::assemble(bytes)).transpose()?;
        let mut figures: Vec<Figures> = WAYS.iter().map(|_| Figures::default()).collect();
        for round in 0..=args.runs {
            for (way, figures) in WAYS.iter().zip(&mut figures) {
                let run = Run {
                    bytes,
                    counter: counter.as_ref(),
                };
                let time = run
                    .migrate(&lab, way)
                    .with_context(|| format!("{}, round {round}", way.name))?;
                if round > 0 {
                    figures.add(time);
                }
            }
        }
        let guest = match writes {
            true => format!("{mib} MiB, writing"),
            false => format!("{mib} MiB, idle"),
        };
        table::print(&guest, &figures);
    }
    Ok(())
}
