// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd release` and `multifd drop`.

use std::path::PathBuf;

/// The guests that are meant.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A guest is kept unreleased if all of it has come, but not its source's word that it has given it up:
`multifd recv` ends with status 8 then. It is marked, by the file `unreleased` in its folder or by FILE.unreleased
beside a file, and `multifd send` refuses it.")]
pub(crate) struct KeptArgs {
    /// A folder of `multifd recv --save`, or a file of `multifd recv --ram`
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}
