// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be wrong with a name, a value, or a combination of values.

use thiserror::Error;

use super::group::Group;

/// Why a parameter or capability was refused. Nothing has changed when one is returned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParamError {
    /// The value is of the wrong kind or out of range.
    #[error("{group} '{name}' expects {allowed}, got '{}'", given.escape_debug())]
    Invalid {
        /// Parameter or capability.
        group: Group,
        /// QEMU's name of it.
        name: &'static str,
        /// The text that was given.
        given: String,
        /// What would have been accepted, in words.
        allowed: String,
    },
    /// Neither a parameter nor a capability has this name.
    #[error("no parameter or capability is named '{}'{}", name.escape_debug(), hint(*nearest))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The known name that it most resembles, if one comes close.
        nearest: Option<&'static str>,
    },
    /// The name is known, but belongs to the other group.
    #[error("'{name}' is a {actual}, not a {wanted}", actual = actual.noun(), wanted = wanted.noun())]
    WrongGroup {
        /// The name that was given.
        name: &'static str,
        /// What it names.
        actual: Group,
        /// What the call accepts.
        wanted: Group,
    },
    /// QEMU has the name, this crate does not.
    #[error("'{name}' is not supported: it belongs to {topic}")]
    NotSupported {
        /// The name that was given.
        name: &'static str,
        /// The part of QEMU's migration that it belongs to.
        topic: &'static str,
    },
    /// The text is not an assignment.
    #[error("'{}' is not an assignment, expected name=value or name value", text.escape_debug())]
    Malformed {
        /// The text that was given.
        text: String,
    },
    /// Every value is valid by itself, but not together with the others or with the situation.
    #[error("{message}: '{name}' is {given}, expected {allowed}")]
    Conflict {
        /// The rule, in QEMU's words where QEMU has words for it.
        message: &'static str,
        /// The parameter, capability or circumstance that broke the rule.
        name: &'static str,
        /// Its value.
        given: String,
        /// The values that keep the rule, and the reason.
        allowed: String,
    },
}

fn hint(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean '{name}'?"))
}
