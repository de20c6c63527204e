// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd inspect`.

use std::path::PathBuf;

use multifd_core::PageSize;

use super::migration::page_size;

/// Say what is in a saved migration, or in the recorded bytes of a connection
///
/// A recording is all that a source has sent on one connection, from its first byte on: the main channel, or
/// one of the multifd channels. What is wrong in it is said with its place.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status:
    0  all of it is in order
    1  it cannot be read, or the folder is not what it says
    2  the arguments
    3  the recording has what a source must not send, or ends too early")]
pub(crate) struct InspectArgs {
    /// A folder that `multifd recv --save` has written, or a file with the bytes of a connection
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Read all of a folder's memory, and compare its checksums with those of when it was kept
    #[arg(long)]
    pub(crate) verify: bool,
    /// The size of the guest's pages, from 4K to 64K [default: what the recording shows, or else 4K]
    #[arg(long, value_name = "SIZE", value_parser = page_size)]
    pub(crate) page_size: Option<PageSize>,
    /// Print it as one JSON object, with every section
    #[arg(long)]
    pub(crate) json: bool,
}
