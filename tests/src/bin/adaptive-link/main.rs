// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What it brings to choose for each packet how much to compress it, on links of known rates.
//!
//! Two hosts are made of network namespaces, with a link between them that `tc tbf` holds to a rate; that takes root.
//! Without a limit it is unix sockets of this host. On each link, each kind of memory is migrated in turn with each of
//! the fixed choices, with the adaptive one, and between two QEMUs; medians are printed as a table of Markdown.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin adaptive-link -- --fill FILES fixed
//! cargo run --release -p multifd-tests --bin adaptive-link -- --fill FILES change
//! cargo run --release -p multifd-tests --bin adaptive-link -- --fill FILES live
//! ```

#![expect(clippy::print_stdout, reason = "a table is what this program is for")]

mod bench;
mod change;
mod choice;
mod content;
mod fixed;
mod link;
mod live;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use multifd_tests::arena::Arena;
use multifd_tests::measured::{Hosts, Role};

use bench::Bench;
use change::ChangeArgs;
use content::Contents;
use fixed::FixedArgs;
use live::LiveArgs;

/// Compares compression that is chosen for each packet with fixed choices, on links of known rates. Needs root.
#[derive(Debug, Parser)]
struct Args {
    /// Where the two memory files go: a hugetlbfs mount with twice the memory reserved, or a tmpfs
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Files that fill the memory, over and over; 15 % of it stays zero
    #[arg(long, required = true, value_delimiter = ',', num_args = 1)]
    fill: Vec<PathBuf>,
    /// Guest memory in MiB
    #[arg(long, default_value_t = 768)]
    memory: u64,
    /// multifd-channels
    #[arg(long, default_value_t = 2)]
    channels: u8,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Each fixed choice and the adaptive one, on links that stay as they are
    Fixed(FixedArgs),
    /// How long it takes to be as fast as the best fixed choice again when the link has changed
    Change(ChangeArgs),
    /// A guest that runs, with each fixed choice and the adaptive one
    Live(LiveArgs),
}

fn main() -> Result<()> {
    if let Some(role) = Role::from_arguments()? {
        return role.run();
    }
    let args = Args::parse();
    // First of all: it is what is missing if anything is.
    let hosts = Hosts::new()?;
    ensure!(args.channels > 0, "--channels is 0");
    let contents = Contents::read(&args.fill)?;
    let bench = Bench {
        arena: Arena::new(&args.folder, args.memory << 20).context("guest memory")?,
        channels: args.channels,
        hosts,
    };
    println!(
        "{}, {} processors; {} MiB of guest memory in {}, {} channels\n",
        processor()?,
        std::thread::available_parallelism()?,
        args.memory,
        args.folder.display(),
        args.channels
    );
    match args.what {
        What::Fixed(args) => args.run(&bench, &contents),
        What::Change(args) => args.run(&bench, &contents),
        What::Live(args) => args.run(&bench, &contents),
    }
}

/// What the processor calls itself.
fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut names = fields.filter(|(key, _)| key.trim() == "model name");
    let name = names.next().map(|(_, name)| name.trim().to_owned());
    Ok(name.unwrap_or_else(|| "a processor without a name".into()))
}
