//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use migration::stream::SyncMode;
use migration_params::Bandwidth;
use multifd_core::wire::Uuid;

use crate::exit_code;
use crate::ram::RamArg;
use crate::size::MemorySize;
use crate::uri::Uri;

/// Move the memory of a guest to another host as QEMU's multifd live migration does, compressed or
/// not, and measure what each compression method makes of it.
///
/// The other side may be this command, a real QEMU, or any program with the same wire format.
#[derive(Debug, Parser)]
#[command(name = "multifd", version, after_help = exit_code::HELP, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Show all that the libraries log
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Migrate between two processes of this host, with each method, and compare the memories
    Demo(DemoArgs),
    /// Send memory to a destination
    Send(SendArgs),
    /// Receive memory from a source
    Recv(RecvArgs),
    /// Measure methods, levels and numbers of channels between two processes of this host
    Bench(BenchArgs),
    /// List every parameter and capability of QEMU
    Params(ParamsArgs),
}

impl Command {
    /// Whether the result is wanted as JSON.
    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Send(args) => args.migration.json,
            Self::Recv(args) => args.migration.json,
            Self::Params(args) => args.json,
            Self::Demo(args) => args.guest.json,
            Self::Bench(args) => args.guest.json,
        }
    }
}

/// What a source and a destination have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrationArgs {
    /// Set a parameter or capability by its QEMU name; may be repeated, `multifd params` lists them
    ///
    /// The defaults are QEMU's, but the capabilities multifd and return-path are on and
    /// max-bandwidth is 0, unlimited. Settings for running guests have no effect.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// The guest's UUID, the same on both sides [default: none, all zero]
    #[arg(long, value_parser = uuid)]
    pub(crate) uuid: Option<Uuid>,
    /// How long the peer may be silent where it has to answer, in seconds
    ///
    /// At the destination: a new connection that does not say what it is, channels that do not come
    /// to a barrier, a missing main connection [default: 30, 60, 30]. At the source: the
    /// confirmation [default: 60].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) time_limit: Option<Duration>,
    /// Print the result as one JSON object, with the names of QEMU's query-migrate
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct SendArgs {
    /// The file or memfd with a RAM block's content; may be repeated for several blocks
    ///
    /// FILE alone is the block `ram`, as QEMU's machine `none` calls it. The file is mapped, so
    /// nothing may shorten it meanwhile.
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    pub(crate) ram: Vec<RamArg>,
    /// The destination: tcp:HOST:PORT, with an IPv6 address in brackets, or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Uri,
    /// How long to wait for the destination to listen, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub(crate) wait: Duration,
    /// Most bytes per second over all channels together, as --set max-bandwidth
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_bandwidth: Option<Bandwidth>,
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
    pub(crate) migration: MigrationArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct RecvArgs {
    /// The address to listen on: tcp:HOST:PORT, with an IPv6 address in brackets, or unix:PATH
    ///
    /// With port 0 the kernel chooses one. The first line on stdout, or on stderr with --json, is
    /// "listening on ADDRESS".
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: Uri,
    /// The file for a RAM block; may be repeated for several blocks
    ///
    /// FILE alone is the block `ram`, as QEMU's machine `none` calls it. The file is created as
    /// FILE.partial and renamed when all has arrived; a failed migration leaves nothing behind.
    #[arg(long, required = true, value_name = "[NAME=]FILE")]
    pub(crate) ram: Vec<RamArg>,
    /// Write into files that exist, for instance on hugetlbfs
    ///
    /// Each must have exactly the length of its block; on hugetlbfs and tmpfs, and for a memfd, it
    /// may be longer. A failed migration leaves a part of the guest in them.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// The file for the device state, byte for byte as it came; without one it is dropped
    #[arg(long, value_name = "FILE")]
    pub(crate) devices: Option<PathBuf>,
    /// The machine type that the source must have [default: any]
    #[arg(long, value_name = "NAME")]
    pub(crate) machine: Option<String>,
    /// How long to wait for the source, in seconds [default: for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) wait: Option<Duration>,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
}

/// The guest that demo and bench migrate.
#[derive(Debug, clap::Args)]
pub(crate) struct GuestArgs {
    /// The guest's memory, with K, M, G or T; the host needs twice as much
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub(crate) memory: MemorySize,
    /// Files and folders whose content fills the memory [default: the system's in /usr]
    ///
    /// Of 100 pages 15 are zero pages; the others hold the files in the order of their names, again
    /// and again until the memory is full.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) fill: Vec<PathBuf>,
    /// The methods to take, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) methods: Vec<String>,
    /// Most bytes per second over all channels together; 0 is unlimited
    #[arg(long, value_name = "SIZE", default_value = "0")]
    pub(crate) max_bandwidth: Bandwidth,
    /// Print the table as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Migrate between two processes of this host, with each method, and compare the memories
///
/// Each method gets one run with its default level. Processor time is that of the whole process, in
/// percent of one processor. `verified` says whether all bytes arrived; before each run, every byte
/// of the destination is given another value than the source's.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct DemoArgs {
    /// Number of channels
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: u8,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}

/// Measure methods, levels and numbers of channels between two processes of this host
///
/// The table has the medians of all runs. A first run is not counted, and the cases take turns.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct BenchArgs {
    /// Numbers of channels, separated by commas
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_value = "2",
          value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: Vec<u8>,
    /// Levels, separated by commas; each method takes those that it has [default: its default]
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) levels: Vec<u8>,
    /// How often each case is measured
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) runs: u16,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
}

/// List every parameter and capability of QEMU
///
/// What concerns a running guest has no effect when it is set: the guests of this command stand still.
/// What this command cannot do is refused when it is set.
#[derive(Debug, clap::Args)]
pub(crate) struct ParamsArgs {
    /// Print them as a JSON array
    #[arg(long)]
    pub(crate) json: bool,
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

fn uuid(text: &str) -> Result<Uuid, String> {
    Uuid::parse(text)
        .ok_or_else(|| "wanted a UUID like 12345678-1234-1234-1234-123456789abc".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "wanted a number of seconds".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
