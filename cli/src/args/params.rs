// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd params`.

use super::help::{self, OUTPUT};

/// List QEMU's migration parameters and capabilities, and what they do here
///
/// Each is shown with its default here, and with QEMU's where it differs; with the commands that
/// use it, or why it is refused. What steers a running guest is used by demo only: the guests of
/// send and recv are stopped.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::LOOKS]))]
pub(crate) struct ParamsArgs {
    /// Show only this one
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Print a JSON array, or an object if there is a NAME
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
    multifd params
    multifd params max-bandwidth
    multifd params --json";
