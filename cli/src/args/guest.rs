// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest that `demo` and `bench` migrate.

use std::path::PathBuf;

use super::help::{GUEST, MIGRATION, OUTPUT};
use super::{AcceleratorArgs, AdaptArgs};
use crate::show::units::{MemorySize, Rate};

/// The guest that demo and bench migrate.
#[derive(Debug, clap::Args)]
pub(crate) struct GuestArgs {
    /// The size of the guest's memory, with K, M, G or T; the host needs twice as much
    #[arg(long, value_name = "SIZE", default_value = "1G", help_heading = GUEST)]
    pub(crate) memory: MemorySize,
    /// Files and folders to fill the memory with [default: the system's in /usr]
    ///
    /// Of 100 pages 15 are zero pages; the others hold the files in the order of their names, over
    /// and over until the memory is full.
    #[arg(long, value_name = "PATH", num_args = 1.., help_heading = GUEST)]
    pub(crate) fill: Vec<PathBuf>,
    /// The methods to measure, separated by commas [default: all]
    #[arg(long, visible_alias = "compression", value_name = "NAMES", value_delimiter = ',', help_heading = MIGRATION)]
    pub(crate) methods: Vec<String>,
    /// Maximum bandwidth of all channels together, in bytes per second; 0 is unlimited
    #[arg(long, value_name = "RATE", default_value = "0", help_heading = MIGRATION)]
    pub(crate) max_bandwidth: Rate,
    /// Measure everything a second time over TLS, with certificates made on the spot
    #[arg(long, help_heading = MIGRATION)]
    pub(crate) tls: bool,
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArgs,
    #[command(flatten)]
    pub(crate) adapt: AdaptArgs,
    /// Write an HTML page with the table, and charts over time for each case
    #[arg(long, value_name = "FILE.html", help_heading = OUTPUT)]
    pub(crate) report: Option<PathBuf>,
    /// Print the table as a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}
