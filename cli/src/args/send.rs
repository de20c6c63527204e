// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd send`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use multifd_migration::stream::SyncMode;

use super::migration::{MigrationArgs, seconds};
use super::{AdaptArgs, TlsClientArgs};
use crate::disk::ram::RamArg;
use crate::net::uri::Uri;
use crate::show::exit_code;
use crate::show::units::Rate;

#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct SendArgs {
    /// The file or memfd with a RAM block's content; may be repeated for several blocks
    ///
    /// FILE alone is the block `ram`, as QEMU's machine `none` calls it. The file is mapped, so
    /// nothing may shorten it meanwhile: that ends the migration.
    #[arg(long, required_unless_present = "load", value_name = "[NAME=]FILE")]
    pub(crate) ram: Vec<RamArg>,
    /// The folder of a guest that `multifd recv --save` has kept: memory, devices, machine type, UUID
    /// and barriers are what they were
    ///
    /// The destination is a QEMU with the same machine type and the same devices. The folder stays as it
    /// is; all of its memory is read and compared with its checksums before anybody is connected to. Where barriers are per section, as with machine types up to 8.0, zero pages go over the main
    /// channel unless --set zero-page-detection says otherwise.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ram", "machine", "sync"])]
    pub(crate) load: Option<PathBuf>,
    /// The destination: tcp:HOST:PORT, with an IPv6 address in brackets, or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Uri,
    /// How long to wait for the destination to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) wait: Duration,
    /// Most bytes per second over all channels together, as --set max-bandwidth
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_bandwidth: Option<Rate>,
    #[command(flatten)]
    pub(crate) adapt: AdaptArgs,
    /// The machine type to announce
    #[arg(long, value_name = "NAME", default_value = "none")]
    pub(crate) machine: String,
    /// Where barriers stand on the main channel
    #[arg(long, value_enum, default_value_t = Sync::PerRound)]
    pub(crate) sync: Sync,
    /// Names the progress shown
    #[arg(long, hide = true, default_value = "sent")]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) tls: TlsClientArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
}

/// Where barriers stand on the main channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    /// At the end of each round over memory.
    PerRound,
    /// At the end of each section, as machine types up to 8.0 have it.
    PerSection,
}

impl From<Sync> for SyncMode {
    fn from(sync: Sync) -> Self {
        match sync {
            Sync::PerRound => Self::PerRound,
            Sync::PerSection => Self::PerSection,
        }
    }
}
