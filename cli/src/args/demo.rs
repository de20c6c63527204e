// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd demo`.

use super::help::{self, COMPRESSION, GUEST, MIGRATION};
use super::{GuestArgs, WorkloadArgs};
use crate::show::exit_code::ExitCode;

/// Migrate a running guest between two processes on this host, once per method, and check it
///
/// Source and destination are two small hypervisors on KVM; without KVM the vCPUs are threads, and
/// the demo tells you. The guest writes to its memory while it migrates, resumes on the other side,
/// and there checks every page that it writes to.
///
/// Each method gets one run at its default level. Processor time is the whole process's, vCPUs
/// included, in percent of one processor. `verified` says whether every byte arrived as it was when
/// the guest was paused, and whether the guest resumes and finds its memory intact; before each run
/// every byte of the destination is set to something other than the source's.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::MOVES, &[ExitCode::Differs, ExitCode::Interrupted]]))]
pub(crate) struct DemoArgs {
    #[command(flatten, next_help_heading = GUEST)]
    pub(crate) workload: WorkloadArgs,
    /// Migrate memory that nobody writes to, without a guest
    #[arg(long, conflicts_with_all = ["dirty_rate", "pattern", "working_set", "vcpus", "threads"],
          help_heading = GUEST)]
    pub(crate) still: bool,
    /// Number of channels
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = clap::value_parser!(u8).range(1..),
          help_heading = MIGRATION)]
    pub(crate) channels: u8,
    /// Set a parameter or capability on both sides by its QEMU name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = MIGRATION)]
    pub(crate) set: Vec<String>,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) guest: GuestArgs,
}

const EXAMPLES: &str = "\
Examples:
  Every method:
    multifd demo
  A busy guest over a slow link:
    multifd demo --dirty-rate 200M \\
      --max-bandwidth 1Gbit \\
      --methods none,zstd \\
      --report demo.html";
