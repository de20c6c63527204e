//! `multifd demo`.

use super::GuestArgs;
use crate::exit_code;

/// Migrate between two processes of this host, with each method, and compare the memories
///
/// Each method gets one run with its default level. Processor time is that of the whole process, in
/// percent of one processor. `verified` says whether all bytes arrived; before each run, every byte
/// of the destination is given another value than the source's.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct DemoArgs {
    /// Number of channels
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: u8,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}
