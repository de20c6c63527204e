// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd relay`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use multifd_core::PageSize;
use multifd_core::wire::Uuid;
use multifd_migration::Limits;

use super::help::{self, COMPRESSION, CONNECTION, GUEST, MIGRATION, OUTPUT, TLS};
use super::migration::{page_size, seconds, uuid};
use super::{AcceleratorArgs, AdaptArgs, AllowArgs, ControlArgs, TlsPeerArgs, side};
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;

/// Pass migrations on as they run, with different methods, channels and bandwidth on each side
///
/// To the source it is the destination, and to the destination it is the source.
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(EXAMPLES, &[&help::MOVES, &[ExitCode::Interrupted]]))]
pub(crate) struct RelayArgs {
    /// A file with options of this command, in TOML, each under its long name
    /// [default: /etc/multifd/relay.toml, if it exists]
    ///
    /// packaging/relay.toml is an example. An option that is given here overrides the one in the
    /// file; of --in, --out and --library each name counts by itself. An empty PATH reads no file.
    #[arg(long, value_name = "PATH", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) config: Option<PathBuf>,
    /// Check the options, print the effective ones as a file, with where each comes from, and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Keep listening when a migration has ended or failed, until SIGINT or SIGTERM
    ///
    /// Several migrations may run at once. The connections say which of them belong together;
    /// guests that start at the same moment and cannot be told apart are refused.
    #[arg(long)]
    pub(crate) keep_listening: bool,
    /// How long migrations may continue after SIGINT or SIGTERM, in seconds; then they are cancelled,
    /// as they are by a second signal
    ///
    /// SIGHUP rereads the file of --config, certificates and keys.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds, requires = "keep_listening")]
    pub(crate) grace: Duration,
    /// Maximum number of migrations at once; others wait
    #[arg(
        long,
        value_name = "NUMBER",
        default_value = "16",
        requires = "keep_listening"
    )]
    pub(crate) max_migrations: NonZeroUsize,
    /// The guest's UUID; another guest is refused [default: whatever the source says]
    #[arg(long, value_parser = uuid, help_heading = GUEST)]
    pub(crate) uuid: Option<Uuid>,
    /// The size of the guest's pages, from 4K to 64K [default: what the source says, or else 4K]
    #[arg(long, value_name = "SIZE", value_parser = page_size, help_heading = GUEST)]
    pub(crate) page_size: Option<PageSize>,
    /// The address to listen on for the source: tcp:HOST:PORT, with an IPv6 address in brackets, or
    /// unix:PATH
    ///
    /// With port 0 the kernel picks one. The first line on stdout, or on stderr with --json, is
    /// "listening on ADDRESS". The relay also listens on sockets that systemd has opened for it
    /// (LISTEN_FDS); with one of those this may be left out.
    #[arg(long, value_name = "ADDRESS", help_heading = CONNECTION)]
    pub(crate) listen: Option<Uri>,
    #[command(flatten, next_help_heading = CONNECTION)]
    pub(crate) allow: AllowArgs,
    /// The destination: tcp:HOST:PORT or unix:PATH. The relay connects when a source has connected
    ///
    /// {uuid} in a path stands for the guest's UUID, so that each guest goes to its own QEMU.
    #[arg(long, value_name = "ADDRESS", help_heading = CONNECTION)]
    pub(crate) to: Uri,
    /// How long to wait for the destination to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds, help_heading = CONNECTION)]
    pub(crate) wait: Duration,
    /// How long to wait whenever it is a peer's turn, in seconds
    ///
    /// For a new connection of the source to identify itself, for channels to reach a sync point,
    /// for a missing main connection [default: 30, 60, 30]; for a destination that does not read or
    /// does not answer a PING [default: 60].
    #[arg(long, value_name = "SECONDS", value_parser = seconds, help_heading = CONNECTION)]
    pub(crate) time_limit: Option<Duration>,
    /// Set a parameter of the source's side by its QEMU name, to what the source has; may be repeated
    ///
    /// multifd-compression, multifd-channels, and max-bandwidth, which limits how fast the source's
    /// channels are read. The defaults are QEMU's, except that max-bandwidth is 0, unlimited. With
    /// tls-creds=DIR only encrypted connections are accepted, with the server's files in this folder,
    /// and with tls-authz=SUBJECT only from a source whose certificate has this subject.
    #[arg(long = "in", value_name = "NAME=VALUE", value_parser = side::incoming, help_heading = MIGRATION)]
    pub(crate) incoming: Vec<String>,
    /// Set a parameter of the destination's side by its QEMU name; may be repeated
    ///
    /// As for --in, and the levels: multifd-zlib-level and so on. With zero-page-detection=multifd,
    /// the default, the relay finds zero pages that the source has not found; a QEMU before 9.0 needs
    /// zero-page-detection=none. With tls-creds=DIR all connections are encrypted, with the client's
    /// files in this folder; tls-hostname=NAME is the name that the destination's certificate must
    /// have, if not the host of --to.
    #[arg(long = "out", value_name = "NAME=VALUE", value_parser = side::outgoing, help_heading = MIGRATION)]
    pub(crate) outgoing: Vec<String>,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) accelerator: AcceleratorArgs,
    #[command(flatten, next_help_heading = COMPRESSION)]
    pub(crate) adapt: AdaptArgs,
    #[command(flatten, next_help_heading = TLS)]
    pub(crate) tls: TlsPeerArgs,
    #[command(flatten)]
    pub(crate) control: ControlArgs,
    /// Print the result as a JSON object; with --keep-listening one per migration, each on a line
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// Do not show progress, nor which implementation does the work
    #[arg(long, short, help_heading = OUTPUT)]
    pub(crate) quiet: bool,
}

impl RelayArgs {
    /// How long this side waits.
    pub(crate) fn limits(&self) -> Limits {
        self.time_limit.map_or_else(Limits::default, Limits::all)
    }
}

const EXAMPLES: &str = "\
Examples:
  Compress what a QEMU sends plain:
    multifd relay \\
      --listen unix:/run/relay/guest \\
      --to tcp:192.0.2.7:4444 \\
      --out multifd-compression=zstd \\
      --out tls-creds=/etc/pki/multifd
  Serve many guests, with a file:
    multifd relay --keep-listening \\
      --config /etc/multifd/relay.toml";
