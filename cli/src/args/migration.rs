// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the commands that migrate have in common.

use std::time::Duration;

use multifd_core::PageSize;
use multifd_core::wire::Uuid;
use multifd_migration::Limits;

use super::accelerator::AcceleratorArgs;
use crate::show::units::Bytes;

/// What a source and a destination have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrationArgs {
    /// Set a parameter or capability by its QEMU name; may be repeated, `multifd params` lists them
    ///
    /// The defaults are QEMU's, but the capabilities multifd and return-path are on and
    /// max-bandwidth is 0, unlimited. Settings for running guests have no effect.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// The guest's UUID
    ///
    /// A source says it on every channel [default: none, all zero; with --load that of the guest]. A destination
    /// refuses other guests [default: whatever the first channel says].
    #[arg(long, value_parser = uuid)]
    pub(crate) uuid: Option<Uuid>,
    /// The size of the guest's pages, from 4K to 64K
    ///
    /// A destination needs it for a guest of another size whose source does not name it: Alpha, SPARC and
    /// OpenRISC have 8K, for instance [default: what the source names, or else 4K].
    #[arg(long, value_name = "SIZE", value_parser = page_size)]
    pub(crate) page_size: Option<PageSize>,
    /// How long to wait wherever the peer has to do something, in seconds
    ///
    /// At the destination: a new connection that does not say what it is, channels that do not come
    /// to a barrier, a missing main connection, silence inside of what was begun, device state
    /// [default: 30, 60, 30, 60, 30]. At the source: a destination that takes nothing, the
    /// confirmation [default: 60, 60].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) time_limit: Option<Duration>,
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArgs,
    /// Print the result as one JSON object, with the names of QEMU's query-migrate
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json, say how it went over time, too
    #[arg(long, requires = "json")]
    pub(crate) timeline: bool,
    /// Show neither progress nor which implementation does the work
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl MigrationArgs {
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
