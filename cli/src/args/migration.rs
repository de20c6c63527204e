// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the commands that migrate have in common.

use std::time::Duration;

use multifd_core::PageSize;
use multifd_core::wire::Uuid;
use multifd_migration::Limits;

use super::accelerator::AcceleratorArgs;
use super::help::{COMPRESSION, CONNECTION, GUEST, MIGRATION, OUTPUT};
use super::short::{Short, ShortArgs, with_short_forms};
use crate::show::failure::Failure;
use crate::show::units::Bytes;

/// What a source and a destination have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrationArgs {
    /// The guest's UUID
    ///
    /// A source sends it on every channel [default: none, all zero; with --load the saved
    /// guest's]. A destination refuses other guests [default: whatever the first channel says].
    #[arg(long, value_parser = uuid, help_heading = GUEST)]
    pub(crate) uuid: Option<Uuid>,
    /// The size of the guest's pages, from 4K to 64K
    ///
    /// A destination needs it if the size is another one and the source does not send it: Alpha,
    /// SPARC and OpenRISC have 8K, for instance [default: what the source says, or else 4K].
    #[arg(long, value_name = "SIZE", value_parser = page_size, help_heading = GUEST)]
    pub(crate) page_size: Option<PageSize>,
    /// How long to wait whenever it is the peer's turn, in seconds
    ///
    /// At the destination: for a new connection to identify itself, for the channels to reach a
    /// sync point, for a missing main connection, for the rest of a message, for device state
    /// [default: 30, 60, 30, 60, 30]. At the source: for a destination that does not read, and for
    /// its confirmation [default: 60, 60].
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = CONNECTION)]
    pub(crate) time_limit: Option<Duration>,
    #[command(flatten, next_help_heading = MIGRATION)]
    short: ShortArgs,
    /// Set a parameter or capability by its QEMU name; may be repeated
    ///
    /// `multifd params` lists them, with their defaults here and the effect that they have.
    #[arg(long, value_name = "NAME=VALUE", help_heading = MIGRATION)]
    pub(crate) set: Vec<String>,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) accelerator: AcceleratorArgs,
    /// Print the result as a JSON object, with the names of QEMU's query-migrate
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// With --json, include how it went over time
    #[arg(long, requires = "json", help_heading = OUTPUT)]
    pub(crate) timeline: bool,
    /// Do not show progress, nor which implementation does the work
    #[arg(long, short, help_heading = OUTPUT)]
    pub(crate) quiet: bool,
}

impl MigrationArgs {
    /// What is to be set, by QEMU's names, with what the short forms and those in `more` say.
    ///
    /// # Errors
    /// Two values for one setting.
    pub(crate) fn settings(&self, more: &[Short]) -> Result<Vec<String>, Failure> {
        with_short_forms(&self.set, &[&self.short.given(), more].concat())
    }

    /// How long this side waits.
    pub(crate) fn limits(&self) -> Limits {
        self.time_limit.map_or_else(Limits::default, Limits::all)
    }
}

pub(super) fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::parse(text)
        .ok_or_else(|| "wanted a UUID like 12345678-1234-1234-1234-123456789abc".into())
}

/// The size of a guest's pages.
pub(super) fn page_size(text: &str) -> Result<PageSize, String> {
    let wrong = || "wanted 4K, 8K, 16K, 32K or 64K".to_owned();
    let Bytes(bytes) = text.parse().map_err(|_| wrong())?;
    let size = u32::try_from(bytes).ok().and_then(PageSize::new);
    size.ok_or_else(wrong)
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "wanted a number of seconds".into())
}
