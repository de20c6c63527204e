// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd vm`, which the demo starts.

use std::path::PathBuf;

use super::{MigrationArgs, WorkloadArgs};
use crate::net::uri::Uri;

/// Be one side of a demo: a small hypervisor
///
/// With --to it starts a guest, lets it run and migrates it; with --from it takes one in, lets it
/// run until it has looked at all of its memory, and stops it.
#[derive(Debug, clap::Args)]
pub(crate) struct VmArgs {
    /// Where the destination listens
    #[arg(long, value_name = "ADDRESS", required_unless_present = "from")]
    pub(crate) to: Option<Uri>,
    /// Where to listen for the source
    #[arg(long, value_name = "ADDRESS", conflicts_with = "to")]
    pub(crate) from: Option<Uri>,
    /// The file or memfd that is the guest's memory
    #[arg(long, value_name = "FILE")]
    pub(crate) ram: PathBuf,
    /// Names the progress shown
    #[arg(long, default_value = "sent")]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
}
