//! How a failure reaches the user: on stderr, and as an object on stdout if that is wanted.

use serde_json::{Value, json};

use crate::show::exit_code::ExitCode;
use crate::show::failure::exit_code;
use crate::show::{hint, output};

/// Says what failed. Returns the status to exit with.
pub(crate) fn failure(error: &anyhow::Error, json: bool) -> ExitCode {
    message("", error);
    if json {
        // There is a failure to report already.
        let _ = output::json(&object(error));
    }
    exit_code(error)
}

/// Says that one of several migrations failed; its object is on a line of its own.
pub(crate) fn failure_of(number: usize, error: &anyhow::Error, json: bool) {
    message(&format!("migration {number}: "), error);
    if json {
        let mut object = object(error);
        if let Some(members) = object.as_object_mut() {
            members.insert("migration".into(), number.into());
        }
        // There is a failure to report already.
        let _ = output::json_line(&object);
    }
}

fn message(prefix: &str, error: &anyhow::Error) {
    output::message(format_args!("multifd: {prefix}{error:#}"));
    if let Some(hint) = hint::for_error(error) {
        output::message(format_args!("hint: {hint}"));
    }
}

fn object(error: &anyhow::Error) -> Value {
    let code = exit_code(error);
    let cancelled = code == ExitCode::Interrupted;
    json!({
        "status": if cancelled { "cancelled" } else { "failed" },
        "error-desc": format!("{error:#}"),
        "hint": hint::for_error(error),
        "exit-code": code as u8,
    })
}
