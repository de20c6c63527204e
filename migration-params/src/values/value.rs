// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What every value of a parameter can do: be read from text, be printed, and describe itself.

use super::error::ValueError;

/// A value of a parameter or capability.
pub(crate) trait Value: Sized {
    /// The type's name in help tables, after QMP's type.
    const KIND: &'static str;
    /// The unit that QEMU prints behind the value, or nothing.
    const UNIT: &'static str = "";

    /// The accepted values in words that follow "expects".
    fn allowed() -> String;

    /// Reads trimmed text that no longer has a unit.
    fn read(text: &str, form: Form) -> Option<Self>;

    /// The text that [`Value::read`] turns into this value again.
    fn text(&self) -> String;
}

/// The form of an assignment, which decides what a bandwidth without suffix counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `name=value` and `name: value`: bytes.
    Plain,
    /// `name value`, as QEMU's human monitor takes it: a bare bandwidth counts MiB/s.
    Monitor,
}

/// Reads a value that may have its unit behind it; it says itself what it counts then, whatever the form.
pub(crate) fn read<T: Value>(text: &str, form: Form) -> Option<T> {
    let (text, form) = without_unit::<T>(text, form);
    T::read(text, form)
}

/// Reads a value that stands alone, for `FromStr` of the type called `kind`.
pub(crate) fn parse_alone<T: Value>(kind: &'static str, text: &str) -> Result<T, ValueError> {
    let (text, form) = without_unit::<T>(text.trim(), Form::Plain);
    T::read(text, form).ok_or_else(|| refused::<T>(kind, text))
}

/// The error of a type called `kind` that cannot hold `given`.
pub(crate) fn refused<T: Value>(kind: &'static str, given: impl ToString) -> ValueError {
    ValueError {
        kind,
        given: given.to_string(),
        allowed: T::allowed(),
    }
}

/// The line of `name` in the style of HMP's `info migrate_parameters`.
pub(crate) fn line<T: Value>(name: &str, value: &T) -> String {
    let separator = if T::UNIT.is_empty() { "" } else { " " };
    format!("{name}: {}{separator}{}", value.text(), T::UNIT)
}

fn without_unit<T: Value>(text: &str, form: Form) -> (&str, Form) {
    if T::UNIT.is_empty() {
        return (text, form);
    }
    text.strip_suffix(T::UNIT)
        .map_or((text, form), |rest| (rest.trim_end(), Form::Plain))
}

impl Value for bool {
    const KIND: &'static str = "bool";

    fn allowed() -> String {
        "'on' or 'off'".to_owned()
    }

    fn read(text: &str, _: Form) -> Option<Self> {
        match text {
            "on" | "true" | "yes" | "y" => Some(true),
            "off" | "false" | "no" | "n" => Some(false),
            _ => None,
        }
    }

    fn text(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }
}
