//! How a failure reaches the user.

use serde_json::json;

use crate::exit_code::ExitCode;
use crate::{hint, output};

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
    let code = ExitCode::of(error);
    let hint = hint::for_error(error);
    output::message(format_args!("multifd: {error:#}"));
    if let Some(hint) = &hint {
        output::message(format_args!("hint: {hint}"));
    }
    if json {
        let cancelled = code == ExitCode::Interrupted;
        let object = json!({
            "status": if cancelled { "cancelled" } else { "failed" },
            "error-desc": format!("{error:#}"),
            "hint": hint,
            "exit-code": code as u8,
        });
        // There is a failure to report already.
        let _ = output::json(&object);
    }
    code
}
