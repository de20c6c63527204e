// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd recv`.

use std::path::PathBuf;
use std::time::Duration;

use super::help::{self, CONNECTION, GUEST, TLS};
use super::migration::{MigrationArgs, seconds};
use super::{AllowArgs, TlsServerArgs};
use crate::disk::ram::RamArg;
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;

/// Receive a guest's memory from a source
///
/// The memory goes to files, or with the device state to a folder from which `multifd send --load`
/// sends the guest again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::MOVES, &[ExitCode::Kept, ExitCode::Interrupted]]))]
pub(crate) struct RecvArgs {
    /// The file for a RAM block; may be repeated, once for each block
    ///
    /// FILE alone is the block `ram`, as QEMU's machine `none` calls it. The file is created as
    /// FILE.partial, and gets its name when everything has arrived and is on disk; only then is the
    /// source told. A failed migration leaves nothing behind. A FILE.partial of a process that was
    /// killed is replaced.
    #[arg(long, required_unless_present = "save", value_name = "[NAME=]FILE", help_heading = GUEST)]
    pub(crate) ram: Vec<RamArg>,
    /// The folder to keep the whole guest in: memory, device state, and what is needed to send it again
    ///
    /// It appears when everything is on disk, and only then is the source told. If the migration
    /// fails, or this process ends at any moment, there is no folder of that name. A DIR.partial of
    /// a process that was killed is replaced.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ram", "in_place", "devices"], help_heading = GUEST)]
    pub(crate) save: Option<PathBuf>,
    /// Write into existing files, for instance on hugetlbfs
    ///
    /// Each must have exactly the length of its block; on hugetlbfs and tmpfs, and for a memfd, it
    /// may be longer. They are flushed to disk before the source is told that the guest is here.
    /// But they have their names all the time: if the migration fails, or this process or the host
    /// goes down, part of the guest is left in them, and nothing in them says so.
    #[arg(long, help_heading = GUEST)]
    pub(crate) in_place: bool,
    /// The file for the device state, byte for byte as it arrives [default: dropped]
    #[arg(long, value_name = "FILE", help_heading = GUEST)]
    pub(crate) devices: Option<PathBuf>,
    /// The machine type that the source must have [default: any]
    #[arg(long, value_name = "NAME", help_heading = GUEST)]
    pub(crate) machine: Option<String>,
    /// The address to listen on: tcp:HOST:PORT, with an IPv6 address in brackets, or unix:PATH
    ///
    /// With port 0 the kernel picks one. The first line on stdout, or on stderr with --json, is
    /// "listening on ADDRESS". Sockets that systemd has opened for this command (LISTEN_FDS) are
    /// listened on, too; with one of those this may be left out. --from is the older name of this
    /// option.
    #[arg(long, alias = "from", value_name = "ADDRESS", help_heading = CONNECTION)]
    pub(crate) listen: Option<Uri>,
    #[command(flatten, next_help_heading = CONNECTION)]
    pub(crate) allow: AllowArgs,
    /// How long to wait for the source's first connection, in seconds [default: forever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = CONNECTION)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten, next_help_heading = TLS)]
    pub(crate) tls: TlsServerArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
}

const EXAMPLES: &str = "\
Examples:
  Memory into a file:
    multifd recv --ram guest.ram \\
      --listen tcp:0.0.0.0:4444 \\
      --allow 192.0.2.0/24 \\
      --compression zstd --channels 4
  A QEMU guest, to be kept:
    multifd recv --save guest \\
      --listen unix:/run/qemu/outgoing";
