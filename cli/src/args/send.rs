// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd send`.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use multifd_migration::stream::SyncMode;

use super::help::{self, COMPRESSION, CONNECTION, GUEST, MIGRATION, OUTPUT, TLS};
use super::migration::{MigrationArgs, seconds};
use super::{AdaptArgs, TlsClientArgs};
use crate::disk::ram::RamArg;
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::units::Rate;

/// Send a guest's memory to a destination
///
/// The guest is stopped: its memory is in files, or in a folder that `multifd recv --save` has
/// written. Migrating a running guest is the hypervisor's job.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::MOVES, &[ExitCode::InDoubt, ExitCode::Interrupted]]))]
pub(crate) struct SendArgs {
    /// The file or memfd with the contents of a RAM block; may be repeated, once for each block
    ///
    /// FILE alone is the block `ram`, as QEMU's machine `none` calls it. The file is mapped: if it
    /// is truncated meanwhile, the migration fails.
    #[arg(long, required_unless_present = "load", value_name = "[NAME=]FILE", help_heading = GUEST)]
    pub(crate) ram: Vec<RamArg>,
    /// The folder of a guest that `multifd recv --save` has kept, with its memory, device state,
    /// machine type, UUID and sync mode
    ///
    /// The destination must be a QEMU with the same machine type and the same devices. The folder
    /// is not changed. All of its memory is read and compared with its checksums before connecting.
    /// With --sync per-section, as machine types up to 8.0 have it, zero pages go over the main
    /// channel unless --set zero-page-detection says otherwise.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ram", "machine", "sync"], help_heading = GUEST)]
    pub(crate) load: Option<PathBuf>,
    /// The machine type to announce
    #[arg(long, value_name = "NAME", default_value = "none", help_heading = GUEST)]
    pub(crate) machine: String,
    /// Where sync points are on the main channel
    #[arg(long, value_enum, default_value_t = Sync::PerRound, value_name = "WHERE", help_heading = GUEST)]
    pub(crate) sync: Sync,
    /// The destination: tcp:HOST:PORT, with an IPv6 address in brackets, or unix:PATH
    #[arg(long, value_name = "ADDRESS", help_heading = CONNECTION)]
    pub(crate) to: Uri,
    /// How long to wait for the destination to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, help_heading = CONNECTION)]
    pub(crate) wait: Duration,
    #[command(flatten, next_help_heading = TLS)]
    pub(crate) tls: TlsClientArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
    /// Maximum bandwidth of all channels together, in bytes per second: short for --set max-bandwidth
    #[arg(long, value_name = "RATE", help_heading = MIGRATION)]
    pub(crate) max_bandwidth: Option<Rate>,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) adapt: AdaptArgs,
    /// What the progress line calls it
    #[arg(long, hide = true, default_value = "sent", help_heading = OUTPUT)]
    pub(crate) label: String,
}

/// Where sync points are on the main channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    /// At the end of each round over memory
    PerRound,
    /// At the end of each section, as machine types up to 8.0 have it
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

const EXAMPLES: &str = "\
Examples:
  Memory in a file, over TLS:
    multifd send --ram guest.ram \\
      --to tcp:192.0.2.7:4444 \\
      --compression zstd --channels 4 \\
      --tls-dir /etc/pki/multifd
  A saved guest, to a QEMU:
    multifd send --load guest \\
      --to unix:/run/qemu/incoming";
