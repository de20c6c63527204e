// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is logged, for every command.

use clap::ArgAction;
use env_filter::{Builder, Filter};

use crate::show::log::{LogFormat, SERVICE};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// Show everything that the libraries log: --log-level debug
    #[arg(long, short, global = true, action = ArgAction::SetTrue, conflicts_with = "log_level")]
    verbose: bool,
    /// What to log on stderr: error, warn, info, debug, trace or off, or several as MODULE=LEVEL,
    /// separated by commas [default: warn,service=info]
    #[arg(long, global = true, value_name = "LEVEL", value_parser = check)]
    log_level: Option<String>,
    /// The format of the log
    ///
    /// Text carries syslog priorities if stderr is systemd's journal.
    #[arg(
        long = "log-format",
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) format: LogFormat,
}

impl LogArgs {
    pub(crate) fn filter(&self) -> Filter {
        let usual = format!("warn,{SERVICE}=info");
        let wanted = match (&self.log_level, self.verbose) {
            (Some(level), _) => level,
            (None, true) => "debug",
            (None, false) => &usual,
        };
        Builder::new().parse(wanted).build()
    }

    /// Whether a user has said what to log.
    pub(crate) fn wants_more(&self) -> bool {
        self.verbose || self.log_level.is_some()
    }
}

fn check(text: &str) -> Result<String, String> {
    Builder::new()
        .try_parse(text)
        .map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}
