// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd vm`, which the demo starts.

use std::path::PathBuf;

use super::help::{COMPRESSION, CONNECTION, GUEST, OUTPUT};
use super::{AdaptArgs, MigrationArgs, WorkloadArgs};
use crate::net::uri::Uri;

/// Be one side of a demo: a small hypervisor
///
/// With --to it starts a guest, lets it run and migrates it; with --listen it receives one, lets it
/// run until it has checked all of its memory, and stops it.
#[derive(Debug, clap::Args)]
pub(crate) struct VmArgs {
    /// The file or memfd that is the guest's memory
    #[arg(long, value_name = "FILE", help_heading = GUEST)]
    pub(crate) ram: PathBuf,
    #[command(flatten, next_help_heading = GUEST)]
    pub(crate) workload: WorkloadArgs,
    /// Where the destination listens
    #[arg(long, value_name = "ADDRESS", required_unless_present = "listen", help_heading = CONNECTION)]
    pub(crate) to: Option<Uri>,
    /// Where to listen for the source
    #[arg(long, alias = "from", value_name = "ADDRESS", conflicts_with = "to", help_heading = CONNECTION)]
    pub(crate) listen: Option<Uri>,
    /// What the progress line calls it
    #[arg(long, default_value = "sent", help_heading = OUTPUT)]
    pub(crate) label: String,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) adapt: AdaptArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
}
