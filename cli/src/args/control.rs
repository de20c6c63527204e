// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Asking a running relay: the options of `multifd relay`, and the commands `status`, `cancel` and `tune`.

use std::path::PathBuf;
use std::str::FromStr;

use multifd_core::wire::Uuid;

use crate::show::exit_code;

/// Where a relay can be asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Control")]
pub(crate) struct ControlArgs {
    /// The unix socket on which the relay is asked and told things: multifd status, cancel and tune
    ///
    /// Only root and the relay's own user may connect [default: multifd-relay.sock in $RUNTIME_DIRECTORY, in
    /// $XDG_RUNTIME_DIR or in /run/multifd, the first of these folders that there is].
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Listen on no such socket
    #[arg(long, conflicts_with = "control")]
    pub(crate) no_control: bool,
}

/// Which relay is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct RelayChoice {
    /// The socket of the relay, as its --control says [default: multifd-relay.sock in $RUNTIME_DIRECTORY, in
    /// $XDG_RUNTIME_DIR or in /run/multifd, the first on which a relay listens]
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
}

/// `multifd status`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) relay: RelayChoice,
    /// Show it again each second, until the relay ends
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print a JSON object; with --watch one each second, on a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `multifd cancel`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct CancelArgs {
    /// The migration: its number, or the guest's UUID
    #[arg(value_name = "NUMBER|UUID")]
    pub(crate) migration: Which,
    /// Why; the relay logs it
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) relay: RelayChoice,
}

/// `multifd tune`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit_code::HELP)]
pub(crate) struct TuneArgs {
    /// The migration: its number, or the guest's UUID
    #[arg(value_name = "NUMBER|UUID")]
    pub(crate) migration: Which,
    /// max-bandwidth=SIZE: most bytes per second to the destination, written as for --out; 0 is unlimited
    #[arg(value_name = "NAME=VALUE", required = true)]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) relay: RelayChoice,
}

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
