// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How an end reaches the user: on stderr, and as an object on stdout if that is wanted.

use std::io;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::show::exit_code::ExitCode;
use crate::show::failure::{exit_code, guest};
use crate::show::log::{self, Identity, SERVICE};
use crate::show::whereabouts::Whereabouts;
use crate::show::{hint, output, reason};

/// Says what failed, and where the guest is: at `before` unless the error knows better. Returns the
/// status to exit with.
pub(crate) fn failure(error: &anyhow::Error, before: Option<Whereabouts>, json: bool) -> ExitCode {
    if output::is_closed(error) {
        // Whoever read it has seen enough.
        return ExitCode::Ok;
    }
    message(error);
    let guest = guest(error).or(before);
    if let Some(guest) = guest {
        output::message(format_args!("{}", guest.sentence()));
    }
    if json {
        let mut object = object(error);
        if let (Some(members), Some(guest)) = (object.as_object_mut(), guest) {
            members.insert("guest".into(), guest.name().into());
        }
        // There is a failure to report already.
        let _ = output::json(&object);
    }
    exit_code(error)
}

/// Says that a migration has succeeded whose result could not be printed: that changes nothing of it.
pub(crate) fn printed(result: io::Result<()>) {
    if let Err(error) = result {
        ::log::warn!(target: SERVICE, "the migration has succeeded, but its result could not be printed: {error}");
    }
}

/// Says that one of several migrations failed; its object is on a line of its own.
pub(crate) fn failure_of(identity: &Arc<Identity>, error: &anyhow::Error, json: bool) {
    log::within(identity, || logged(error, &reason::text(error)));
    if json {
        let members = record(identity, error);
        // There is a failure to report already.
        let _ = output::json_line(&members);
    }
}

/// Logs what is said of an error, and what to do about it.
pub(crate) fn logged(error: &anyhow::Error, text: &str) {
    match hint::for_error(error) {
        Some(hint) => ::log::error!(target: SERVICE, hint = hint.as_str(); "{text}"),
        None => ::log::error!(target: SERVICE, "{text}"),
    }
}

/// What a migration that failed leaves behind.
pub(crate) fn record(identity: &Identity, error: &anyhow::Error) -> Map<String, Value> {
    let mut members = identity.members();
    if let Value::Object(object) = object(error) {
        members.extend(object);
    }
    members
}

fn message(error: &anyhow::Error) {
    output::one_line(format_args!("multifd: {}", reason::text(error)));
    if let Some(hint) = hint::for_error(error) {
        output::message(format_args!("hint: {hint}"));
    }
}

fn object(error: &anyhow::Error) -> Value {
    let code = exit_code(error);
    let cancelled = code == ExitCode::Interrupted;
    json!({
        "status": if cancelled { "cancelled" } else { "failed" },
        "error-desc": reason::text(error),
        "hint": hint::for_error(error),
        "exit-code": code as u8,
    })
}
