// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd demo`.

use super::{GuestArgs, WorkloadArgs};
use crate::show::exit_code;

/// Migrate a running guest between two processes of this host, with each method, and check it
///
/// Source and destination are two small hypervisors on KVM; where that cannot be used, threads are
/// the vCPUs, and the demo says so. The guest writes to its memory while it migrates, goes on at the
/// other side, and there looks at each page that it writes to.
///
/// Each method gets one run with its default level. Processor time is that of the whole process,
/// vCPUs included, in percent of one processor. `verified` says whether all bytes arrived as they
/// were when the guest was stopped, and whether the guest goes on and finds its memory whole; before
/// each run, every byte of the destination is given another value than the source's.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct DemoArgs {
    /// Number of channels
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: u8,
    /// Migrate memory that stands still, without a guest
    #[arg(long, conflicts_with_all = ["dirty_rate", "pattern", "working_set", "vcpus", "threads"])]
    pub(crate) still: bool,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    /// Set a parameter or capability on both sides by its QEMU name; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}
