// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd inspect`.

use std::path::PathBuf;

use multifd_core::PageSize;

use super::help::{self, OUTPUT};
use super::migration::page_size;

/// Show what is in a saved guest, or in the recorded bytes of a connection
///
/// A recording is everything that a source has sent on one connection, from the first byte on: the
/// main channel, or one of the multifd channels. Each error in it is shown with its position.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{}", help::table(STATUSES)))]
pub(crate) struct InspectArgs {
    /// A folder that `multifd recv --save` has written, or a file with the bytes of a connection
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Read all of a folder's memory and compare it with the checksums taken when it was saved
    #[arg(long)]
    pub(crate) verify: bool,
    /// The size of the guest's pages, from 4K to 64K [default: what the recording shows, or else 4K]
    #[arg(long, value_name = "SIZE", value_parser = page_size)]
    pub(crate) page_size: Option<PageSize>,
    /// Print a JSON object, with every section
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
    multifd inspect guest --verify
    multifd inspect main.bin --json";
const STATUSES: [(u8, &str); 4] = [
    (0, "no errors"),
    (
        1,
        "it cannot be read, or the folder is not what it claims to be",
    ),
    (2, "an argument was refused"),
    (
        3,
        "the recording has something that a source must not send, or ends too early",
    ),
];
