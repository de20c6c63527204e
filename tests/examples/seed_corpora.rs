// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Writes the seeds of every fuzz target and what was found with it, each to a folder of the target's name.
//!
//! ```text
//! cargo run -p multifd-tests --example seed_corpora -- FOLDER
//! ```
//!
//! Prints the names of the targets.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use multifd_tests::fuzzing::Target;

#[expect(clippy::print_stdout, reason = "the names are what is asked for")]
fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("no folder given")?;
    let folder = PathBuf::from(folder);
    for target in Target::all() {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (kind, inputs) in [("seed", (target.seeds)()?), ("found", target.found()?)] {
            for (number, input) in inputs.iter().enumerate() {
                fs::write(folder.join(format!("{kind}-{number}")), input)?;
            }
        }
        println!("{}", target.name);
    }
    Ok(())
}
