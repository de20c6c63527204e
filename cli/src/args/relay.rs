// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd relay`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use multifd_core::PageSize;
use multifd_core::wire::Uuid;
use multifd_migration::Limits;

use super::migration::{page_size, seconds, uuid};
use super::{AcceleratorArgs, AdaptArgs, AllowArgs, ControlArgs, TlsPeerArgs, side};
use crate::net::uri::Uri;
use crate::show::exit_code;

#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct RelayArgs {
    /// A file with options of this command, in TOML and each under its own long name
    /// [default: /etc/multifd/relay.toml, if there is one]
    ///
    /// packaging/relay.toml is an example. An option that is given here comes before the one in the file; of --in, --out
    /// and --library each name counts for itself. An empty PATH reads no file.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) config: Option<PathBuf>,
    /// Check the options and print those that would be in force, as a file and with where each is from; start nothing
    #[arg(long)]
    pub(crate) check_config: bool,
    /// The address to listen on for the source: tcp:HOST:PORT, with an IPv6 address in brackets, or
    /// unix:PATH
    ///
    /// With port 0 the kernel chooses one. The first line on stdout, or on stderr with --json, is
    /// "listening on ADDRESS". Sockets that systemd has opened for the relay (LISTEN_FDS) are listened on, too;
    /// with one of those this may be left out.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<Uri>,
    #[command(flatten)]
    pub(crate) allow: AllowArgs,
    /// The destination: tcp:HOST:PORT or unix:PATH. Connected to when a source has connected
    ///
    /// {uuid} in a path stands for the guest's UUID, so that each guest goes to a QEMU of its own.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Uri,
    /// Set a parameter of the source's side by its QEMU name, as the source has it; may be repeated
    ///
    /// multifd-compression, multifd-channels, and max-bandwidth: most bytes per second that are taken
    /// from the source's channels. The defaults are QEMU's, but max-bandwidth is 0, unlimited. With
    /// tls-creds=DIR only encrypted connections are taken, with the server's files in this folder, and with
    /// tls-authz=SUBJECT only those of a source whose certificate has this subject.
    #[arg(long = "in", value_name = "NAME=VALUE", value_parser = side::incoming)]
    pub(crate) incoming: Vec<String>,
    /// Set a parameter of the destination's side by its QEMU name; may be repeated
    ///
    /// As --in, and the levels: multifd-zlib-level and so on. With zero-page-detection=multifd, the
    /// default, zero pages that the source has not found are found here; a QEMU before 9.0 wants none. With
    /// tls-creds=DIR all connections are encrypted, with the client's files in this folder;
    /// tls-hostname=NAME is who the destination's certificate has to be for, if not the host of --to.
    #[arg(long = "out", value_name = "NAME=VALUE", value_parser = side::outgoing)]
    pub(crate) outgoing: Vec<String>,
    /// The guest's UUID; another guest is refused [default: whatever the source says]
    #[arg(long, value_parser = uuid)]
    pub(crate) uuid: Option<Uuid>,
    /// The size of the guest's pages, from 4K to 64K [default: what the source names, or else 4K]
    #[arg(long, value_name = "SIZE", value_parser = page_size)]
    pub(crate) page_size: Option<PageSize>,
    /// How long to wait for the destination to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) wait: Duration,
    /// How long a peer may be silent where it has to answer, in seconds
    ///
    /// A new connection of the source that does not say what it is, channels that do not come to a
    /// barrier, a missing main connection [default: 30, 60, 30]; a destination that takes nothing or
    /// does not answer a PING [default: 60].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) time_limit: Option<Duration>,
    /// Go on listening when a migration has ended or failed, until SIGINT or SIGTERM
    ///
    /// Several migrations may run at once. What the connections say tells which of them belong together;
    /// guests that begin in the same moment and cannot be told apart are refused.
    #[arg(long)]
    pub(crate) keep_listening: bool,
    /// How long migrations may go on after SIGINT or SIGTERM, in seconds; then they are cancelled, as they are
    /// by a second signal
    ///
    /// SIGHUP reads the file of --config, certificates and keys again.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds, requires = "keep_listening")]
    pub(crate) grace: Duration,
    /// Most migrations at once; others wait
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "16",
        requires = "keep_listening"
    )]
    pub(crate) max_migrations: NonZeroUsize,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    #[command(flatten)]
    pub(crate) tls: TlsPeerArgs,
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArgs,
    #[command(flatten)]
    pub(crate) adapt: AdaptArgs,
    /// Print the result as a JSON object; with --keep-listening one for each migration, on a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Show neither progress nor which implementation does the work
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

impl RelayArgs {
    /// How long this side waits.
    pub(crate) fn limits(&self) -> Limits {
        self.time_limit.map_or_else(Limits::default, Limits::all)
    }
}
