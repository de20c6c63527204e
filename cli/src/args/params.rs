// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd params`.

/// List every parameter and capability of QEMU
///
/// What concerns a running guest has no effect when it is set: the guests of this command stand still.
/// What this command cannot do is refused when it is set.
#[derive(Debug, clap::Args)]
pub(crate) struct ParamsArgs {
    /// Print them as a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}
