// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd release` and `multifd drop`.

use std::path::PathBuf;

/// The guests that are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct KeptArgs {
    /// A folder of `multifd recv --save`, or a file of `multifd recv --ram`
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

pub(super) const RELEASE_EXAMPLES: &str = "\
Examples:
    multifd release guest
    multifd release guest.ram";
pub(super) const DROP_EXAMPLES: &str = "\
Examples:
    multifd drop guest
    multifd drop guest.ram";
