// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One line of a client, and what it is answered.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a client wants: QMP's form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) execute: String,
    #[serde(default)]
    pub(super) arguments: Map<String, Value>,
    /// Comes back with the answer.
    #[serde(default)]
    pub(super) id: Option<Value>,
}

/// Why something is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    class: Class,
    what: String,
}

/// What a program makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The line or an argument is not what it has to be.
    BadRequest,
    CommandNotFound,
    PermissionDenied,
    /// There is no such migration.
    MigrationNotFound,
    /// The migration is over, or has come so far that it cannot be done.
    TooLate,
}

impl Request {
    pub(super) fn parse(line: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(line).map_err(|error| {
            let what = format!(
                "wanted a line like {{\"execute\": \"query-relay\"}}, with \"arguments\" and \"id\" if need be: {error}"
            );
            Refused::bad(what)
        })
    }

    /// Refuses arguments that the command does not have.
    pub(super) fn takes(&self, names: &[&str]) -> Result<(), Refused> {
        let mut given = self.arguments.keys();
        match given.find(|given| !names.contains(&given.as_str())) {
            None => Ok(()),
            Some(given) => {
                let what = format!("{} has no argument {given:?}", self.execute);
                Err(Refused::bad(what))
            }
        }
    }
}

impl Refused {
    pub(super) fn new(class: Class, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { class, what }
    }

    pub(super) fn bad(what: impl Into<String>) -> Self {
        Self::new(Class::BadRequest, what)
    }

    /// As an answer.
    pub(super) fn answer(&self, id: Option<Value>) -> Value {
        let error = json!({ "class": self.class.name(), "desc": self.what });
        with_id(json!({ "error": error }), id)
    }
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "BadRequest",
            Self::CommandNotFound => "CommandNotFound",
            Self::PermissionDenied => "PermissionDenied",
            Self::MigrationNotFound => "MigrationNotFound",
            Self::TooLate => "TooLate",
        }
    }
}

/// The answer of something that was done.
pub(super) fn done(value: Value, id: Option<Value>) -> Value {
    with_id(json!({ "return": value }), id)
}

fn with_id(mut answer: Value, id: Option<Value>) -> Value {
    if let (Some(id), Some(members)) = (id, answer.as_object_mut()) {
        members.insert("id".into(), id);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_requests_id() {
        let line = br#"{"execute": "x", "id": [1, {"a": null}]}"#;
        let request = Request::parse(line).unwrap();
        assert_eq!((&*request.execute, request.arguments.len()), ("x", 0));
        let refused = Refused::new(Class::TooLate, "why");
        let wanted = json!({"error": {"class": "TooLate", "desc": "why"}, "id": [1, {"a": null}]});
        assert_eq!(refused.answer(request.id), wanted);
        assert_eq!(done(json!({}), None), json!({"return": {}}));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let deep = "[".repeat(10_000);
        for line in [
            "",
            "status",
            "[]",
            "{}",
            r#"{"execute": 1}"#,
            r#"{"execute": "x", "arguments": 1}"#,
            r#"{"execute": "x", "argument": {}}"#,
            r#"{"execute": "x"} {}"#,
            "\u{0}",
            &deep,
        ] {
            let refused = Request::parse(line.as_bytes()).unwrap_err();
            assert_eq!(refused.class, Class::BadRequest, "{line:?}");
        }
        Request::parse(b"{\"execute\": \"\xff\"}").unwrap_err();
    }
}
