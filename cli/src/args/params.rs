// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd params`.

use super::help::{self, OUTPUT};

/// List QEMU's migration parameters and capabilities
///
/// What concerns a running guest has no effect when it is set: the guests of this command are
/// stopped. What this command cannot do is refused when it is set.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::LOOKS]))]
pub(crate) struct ParamsArgs {
    /// Print a JSON array
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
    multifd params --json";
