// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Asking a running relay: the options of `multifd relay`, and the commands `status`, `cancel` and `tune`.

use std::path::PathBuf;
use std::str::FromStr;

use multifd_core::wire::Uuid;

use super::help::{self, CONNECTION, OUTPUT};
use crate::show::exit_code::ExitCode;

/// Where a relay can be asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Control")]
pub(crate) struct ControlArgs {
    /// The unix socket for multifd status, cancel and tune
    ///
    /// Only root and the relay's own user may connect [default: multifd-relay.sock in
    /// $RUNTIME_DIRECTORY, in $XDG_RUNTIME_DIR or in /run/multifd, the first of these folders that
    /// exists].
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Do not listen on such a socket
    #[arg(long, conflicts_with = "control")]
    pub(crate) no_control: bool,
}

/// Which relay is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct RelayChoice {
    /// The relay's control socket [default: multifd-relay.sock in $RUNTIME_DIRECTORY, in
    /// $XDG_RUNTIME_DIR or in /run/multifd, the first on which a relay listens]
    #[arg(long, value_name = "PATH", help_heading = CONNECTION)]
    pub(crate) control: Option<PathBuf>,
}

/// Show what a running relay is doing: migrations in progress, who is waiting, what has ended
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(STATUS_EXAMPLES, &[&ASKS]))]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) relay: RelayChoice,
    /// Show it again every second, until the relay ends
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) watch: bool,
    /// Print a JSON object; with --watch one every second, each on a line
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
}

/// Cancel a migration that a relay is passing on; its guest keeps running at the source
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(CANCEL_EXAMPLES, &[&ASKS]))]
pub(crate) struct CancelArgs {
    /// The migration: its number, or the guest's UUID
    #[arg(value_name = "NUMBER|UUID")]
    pub(crate) migration: Which,
    /// The reason, for the relay's log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) relay: RelayChoice,
}

/// Change the bandwidth of a migration that a relay is passing on
#[derive(Debug, clap::Args)]
#[command(after_long_help = help::below(TUNE_EXAMPLES, &[&ASKS]))]
pub(crate) struct TuneArgs {
    /// The migration: its number, or the guest's UUID
    #[arg(value_name = "NUMBER|UUID")]
    pub(crate) migration: Which,
    /// max-bandwidth=RATE: the maximum bandwidth to the destination, as for --out; 0 is unlimited
    #[arg(value_name = "NAME=VALUE", required = true)]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) relay: RelayChoice,
}

/// What asking a relay can end with.
const ASKS: [ExitCode; 5] = [
    ExitCode::Ok,
    ExitCode::Local,
    ExitCode::Usage,
    ExitCode::Peer,
    ExitCode::Connection,
];
const STATUS_EXAMPLES: &str = "\
Examples:
  This host's relay, every second:
    multifd status --watch
  Another one:
    multifd status --json \\
      --control /run/relay2/control";
const CANCEL_EXAMPLES: &str = "\
Examples:
    multifd cancel 3 --reason upgrade";
const TUNE_EXAMPLES: &str = "\
Examples:
    multifd tune 3 max-bandwidth=500M";

/// Which of a relay's migrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// As the relay counts them, from 1 on.
    Number(usize),
    /// The guest's.
    Uuid(Uuid),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().map(Self::Number);
        let which = number.or_else(|| Uuid::parse(text).map(Self::Uuid));
        which.ok_or_else(|| {
            "wanted the number of a migration, or a UUID like 12345678-1234-1234-1234-123456789abc"
                .into()
        })
    }
}
