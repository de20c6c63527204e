// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Runs migrations with real QEMUs through the command `multifd`, and prints the table of
//! `docs/interop.md`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table is what this program is for"
)]

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use multifd_tests::interop::{self, Outcome};

/// Runs migrations with real QEMUs and prints the table of what was verified.
///
/// What a case comes to is on stderr as it ends, the table on stdout at the end.
#[derive(Debug, Parser)]
struct Args {
    /// Only cases whose group or name has all of these words in it
    words: Vec<String>,
    /// Only say what cases there are
    #[arg(long)]
    list: bool,
    /// Print the table of QEMU's own tests instead, and what here does the same
    #[arg(long)]
    qemu_tests: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.qemu_tests {
        print!("{}", interop::table_of_tests());
        return Ok(());
    }
    let mut cases = interop::cases();
    cases.retain(|case| {
        let name = format!("{case:?}");
        args.words.iter().all(|word| name.contains(word.as_str()))
    });
    if args.list {
        for case in &cases {
            println!("{case:?}");
        }
        return Ok(());
    }
    let lab = interop::require()?.context("this machine lacks what the cases need, see above")?;
    let (mut rows, mut failed) = (Vec::new(), 0);
    for case in cases {
        let start = Instant::now();
        let result = case.run(&lab);
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(Outcome::Verified(verified)) => {
                eprintln!("ok      {seconds:5.1} s  {case:?}");
                rows.push((case.row, verified));
            }
            Ok(Outcome::Skipped(why)) => eprintln!("skipped, {why}: {case:?}"),
            Err(error) => {
                eprintln!("FAILED  {seconds:5.1} s  {error:#}");
                failed += 1;
            }
        }
    }
    print!("{}", interop::table(&lab, &rows));
    ensure!(failed == 0, "{failed} cases failed");
    Ok(())
}
