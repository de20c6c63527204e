// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest that `demo` and `bench` migrate.

use std::path::PathBuf;

use super::AcceleratorArgs;
use crate::show::units::{MemorySize, Rate};

/// The guest that demo and bench migrate.
#[derive(Debug, clap::Args)]
pub(crate) struct GuestArgs {
    /// The guest's memory, with K, M, G or T; the host needs twice as much
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub(crate) memory: MemorySize,
    /// Files and folders whose content fills the memory [default: the system's in /usr]
    ///
    /// Of 100 pages 15 are zero pages; the others hold the files in the order of their names, again
    /// and again until the memory is full.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) fill: Vec<PathBuf>,
    /// The methods to take, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) methods: Vec<String>,
    /// Most bytes per second over all channels together; 0 is unlimited
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) max_bandwidth: Rate,
    /// Measure everything once more over TLS, with certificates that are made on the spot
    #[arg(long)]
    pub(crate) tls: bool,
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArgs,
    /// Write a page with plots over time, one set per case, and the table
    #[arg(long, value_name = "FILE.html")]
    pub(crate) report: Option<PathBuf>,
    /// Print the table as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
