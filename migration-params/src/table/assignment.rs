// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The text form of one setting.

use super::error::ParamError;
use super::group::Group;
use crate::values::value::{self, Form, Value};

/// A name and the text of its value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Assignment<'a> {
    pub(crate) name: &'a str,
    pub(crate) given: Given<'a>,
}

/// The right-hand side of an assignment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) text: &'a str,
    pub(crate) form: Form,
}

impl<'a> Assignment<'a> {
    /// Splits `name=value`, `name: value` or `name value` at the first separator.
    pub(crate) fn split(text: &'a str) -> Result<Self, ParamError> {
        Self::split_trimmed(text.trim()).ok_or_else(|| ParamError::Malformed {
            text: text.to_owned(),
        })
    }

    fn split_trimmed(text: &'a str) -> Option<Self> {
        let (name, rest) = text.split_once(is_separator)?;
        let separator = text.get(name.len()..)?.chars().next()?;
        let form = if separator.is_whitespace() {
            Form::Monitor
        } else {
            Form::Plain
        };
        let text = rest.trim();
        // `name = value` is neither of the two forms.
        let mixed = form == Form::Monitor && text.starts_with('=');
        (!name.is_empty() && !mixed).then_some(Self {
            name,
            given: Given { text, form },
        })
    }
}

impl Given<'_> {
    /// Reads the value of `name`.
    pub(crate) fn read<T: Value>(self, group: Group, name: &'static str) -> Result<T, ParamError> {
        value::read(self.text, self.form).ok_or_else(|| ParamError::Invalid {
            group,
            name,
            given: self.text.to_owned(),
            allowed: T::allowed(),
        })
    }
}

fn is_separator(character: char) -> bool {
    character == '=' || character == ':' || character.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_separator() {
        for (text, name, value, form) in [
            ("a=b", "a", "b", Form::Plain),
            (" a= b ", "a", "b", Form::Plain),
            ("a: b", "a", "b", Form::Plain),
            ("a=", "a", "", Form::Plain),
            ("a=b=c", "a", "b=c", Form::Plain),
            ("a=b c", "a", "b c", Form::Plain),
            ("a b", "a", "b", Form::Monitor),
            ("a \t b c", "a", "b c", Form::Monitor),
            ("a ::1", "a", "::1", Form::Monitor),
        ] {
            let split = Assignment::split(text).unwrap();
            assert_eq!(
                (split.name, split.given.text, split.given.form),
                (name, value, form)
            );
        }
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in ["", " ", "multifd", "=b", ": b", "a = b", "a =b"] {
            let error = Assignment::split(text).unwrap_err();
            assert_eq!(
                error,
                ParamError::Malformed {
                    text: text.to_owned()
                }
            );
        }
        assert_eq!(
            Assignment::split("multifd").unwrap_err().to_string(),
            "'multifd' is not an assignment, expected name=value or name value"
        );
    }
}
