// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd status`.

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::Relay;
use crate::args::StatusArgs;
use crate::show::exit_code::ExitCode;
use crate::show::{output, relay_status};

/// Shows what a relay does, once or until it ends.
pub(crate) fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let mut relay = Relay::connect(&args.relay)?;
    if !args.watch {
        show(&look(&mut relay)?.unwrap_or_default(), args.json)?;
        return Ok(ExitCode::Ok);
    }
    let is_screen = !args.json && io::stdout().is_terminal();
    while let Some(status) = look(&mut relay)? {
        if args.json {
            output::json_line(&status)?;
        } else if is_screen {
            output::redraw(&relay_status::text(&status))?;
        } else {
            output::line(format_args!("{}\n", relay_status::text(&status)))?;
        }
        thread::sleep(PERIOD);
    }
    if !args.json {
        output::line(format_args!("the relay has ended"))?;
    }
    Ok(ExitCode::Ok)
}

/// All that there is to ask; `None` once the relay has ended.
fn look(relay: &mut Relay) -> anyhow::Result<Option<Value>> {
    let mut answers = Vec::new();
    for query in ["relay", "migrations", "waiting", "history"] {
        let Some(answer) = relay.execute(&format!("query-{query}"), &json!({}))? else {
            return Ok(None);
        };
        answers.push((query.to_owned(), answer));
    }
    Ok(Some(Value::Object(answers.into_iter().collect())))
}

fn show(status: &Value, is_json: bool) -> io::Result<()> {
    match is_json {
        true => output::json(status),
        false => output::line(format_args!("{}", relay_status::text(status))),
    }
}

const PERIOD: Duration = Duration::from_secs(1);
