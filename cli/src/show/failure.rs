//! How a failure reaches the user.

use serde_json::{Value, json};

use crate::show::exit_code::ExitCode;
use crate::show::{hint, output};

/// An error of the command itself, with its exit status and perhaps what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    pub(crate) code: ExitCode,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: ExitCode, what: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            hint: None,
        }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Usage, what)
    }

    #[must_use]
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// Says what failed: on stderr, and as an object on stdout if that is wanted.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    tell("", error);
    if json {
        // There is a failure to report already.
        let _ = output::json(&object(error));
    }
    ExitCode::of(error)
}

/// Says that one of several migrations failed; its object is on a line of its own.
pub(crate) fn report_one(number: usize, error: &anyhow::Error, json: bool) {
    tell(&format!("migration {number}: "), error);
    if json {
        let mut object = object(error);
        if let Some(members) = object.as_object_mut() {
            members.insert("migration".into(), number.into());
        }
        // There is a failure to report already.
        let _ = output::json_line(&object);
    }
}

fn tell(prefix: &str, error: &anyhow::Error) {
    output::message(format_args!("multifd: {prefix}{error:#}"));
    if let Some(hint) = hint::for_error(error) {
        output::message(format_args!("hint: {hint}"));
    }
}

fn object(error: &anyhow::Error) -> Value {
    let code = ExitCode::of(error);
    let cancelled = code == ExitCode::Interrupted;
    json!({
        "status": if cancelled { "cancelled" } else { "failed" },
        "error-desc": format!("{error:#}"),
        "hint": hint::for_error(error),
        "exit-code": code as u8,
    })
}
