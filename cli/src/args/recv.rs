// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd recv`.

use std::path::PathBuf;
use std::time::Duration;

use super::migration::{MigrationArgs, seconds};
use super::{AllowArgs, TlsServerArgs};
use crate::disk::ram::RamArg;
use crate::net::uri::Uri;
use crate::show::exit_code;

#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct RecvArgs {
    /// The address to listen on: tcp:HOST:PORT, with an IPv6 address in brackets, or unix:PATH
    ///
    /// With port 0 the kernel chooses one. The first line on stdout, or on stderr with --json, is
    /// "listening on ADDRESS".
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: Uri,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// The file for a RAM block; may be repeated for several blocks
    ///
    /// FILE alone is the block `ram`, as QEMU's machine `none` calls it. The file is created as
    /// FILE.partial, and gets its name when all has arrived and is on the disk; the source is told only
    /// then. A failed migration leaves nothing behind. What a process left as FILE.partial that was killed
    /// is replaced.
    #[arg(long, required_unless_present = "save", value_name = "[NAME=]FILE")]
    pub(crate) ram: Vec<RamArg>,
    /// The folder to keep all of the guest in: memory, devices, and what is needed to send it again
    ///
    /// It appears when everything is on the disk, and the source is told only then; a failed migration,
    /// or the end of this process at any moment, leaves no folder of that name. What a process left as
    /// DIR.partial that was killed is replaced. `multifd send --load` sends it again.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ram", "in_place", "devices"])]
    pub(crate) save: Option<PathBuf>,
    /// Write into files that exist, for instance on hugetlbfs
    ///
    /// Each must have exactly the length of its block; on hugetlbfs and tmpfs, and for a memfd, it
    /// may be longer. They are written to the disk before the source is told that the guest is here. But
    /// they have their names all the time: a failed migration, or the end of this process or of the host,
    /// leaves a part of the guest in them, and nothing in them says so.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// The file for the device state, byte for byte as it came; without one it is dropped
    #[arg(long, value_name = "FILE")]
    pub(crate) devices: Option<PathBuf>,
    /// The machine type that the source must have [default: any]
    #[arg(long, value_name = "NAME")]
    pub(crate) machine: Option<String>,
    /// How long to wait for the source's first connection, in seconds [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) tls: TlsServerArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
}
