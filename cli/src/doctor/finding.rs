// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One line of the report.

use serde::Serialize;

/// Whether something can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// It is there and usable, or there is nothing that it would be needed for.
    Ok,
    /// It is not there.
    Missing,
    /// It is there and cannot be used.
    Unusable,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) what: String,
    /// The one thing to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

/// Why a thing cannot be used, and the one thing to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) advice: String,
}

impl Status {
    /// As it stands in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Unusable => "unusable",
        }
    }
}

impl Finding {
    pub(crate) fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, what)
    }

    pub(crate) fn missing(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Status::Missing, what)
    }

    pub(crate) fn unusable(name: impl Into<String>, problem: &Problem) -> Self {
        Self::new(name, Status::Unusable, problem.what.as_str()).advice(problem.advice.as_str())
    }

    #[must_use]
    pub(crate) fn advice(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }

    /// The same, with more to say.
    #[must_use]
    pub(crate) fn and(self, more: &str) -> Self {
        Self {
            what: format!("{}; {more}", self.what),
            ..self
        }
    }

    fn new(name: impl Into<String>, status: Status, what: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status,
            what: what.into(),
            advice: None,
        }
    }
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
        }
    }
}
