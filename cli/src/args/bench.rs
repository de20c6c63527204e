// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd bench`.

use super::GuestArgs;
use super::help::{self, COMPRESSION, MIGRATION};
use crate::show::exit_code::ExitCode;

/// Measure methods, levels and channel counts between two processes on this host
///
/// The table shows the medians of all runs. There is a first run that does not count, and the cases
/// take turns. The destination's memory has been touched before: what the kernel takes for first
/// touching it is not in `recv cpu`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::MOVES, &[ExitCode::Differs, ExitCode::Interrupted]]))]
pub(crate) struct BenchArgs {
    /// Numbers of channels, separated by commas
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "2",
          value_parser = clap::value_parser!(u8).range(1..), help_heading = MIGRATION)]
    pub(crate) channels: Vec<u8>,
    /// Levels, separated by commas; each method skips those that it lacks [default: its default]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', help_heading = MIGRATION)]
    pub(crate) levels: Vec<u8>,
    /// How often to measure each case
    #[arg(long, value_name = "NUMBER", default_value = "3", value_parser = clap::value_parser!(u16).range(1..),
          help_heading = MIGRATION)]
    pub(crate) runs: u16,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) guest: GuestArgs,
}

const EXAMPLES: &str = "\
Examples:
  Levels of zstd on 1 and 4 channels:
    multifd bench --methods zstd \\
      --levels 1,3,9 --channels 1,4
  A guest's own memory, with TLS:
    multifd bench --fill guest.ram \\
      --memory 4G --tls";
