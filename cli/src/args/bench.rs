// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd bench`.

use super::GuestArgs;
use crate::show::exit_code;

/// Measure methods, levels and numbers of channels between two processes of this host
///
/// The table has the medians of all runs. A first run is not counted, and the cases take turns.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct BenchArgs {
    /// Numbers of channels, separated by commas
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "2",
          value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: Vec<u8>,
    /// Levels, separated by commas; each method takes those that it has [default: its default]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) levels: Vec<u8>,
    /// How often each case is measured
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) runs: u16,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}
