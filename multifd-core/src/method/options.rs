// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a method may ask of a migration's parameters.

use super::Accelerator;

/// The migration's parameters, by the names that QEMU gives them.
///
/// Core does not know the parameters: whoever starts a migration fills this in, and each method
/// asks for its own.
#[derive(Clone, Debug, Default)]
pub struct MethodOptions {
    values: Vec<(String, String)>,
}

impl MethodOptions {
    /// No option: every method takes its defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same options with one more; a later value of the same name wins.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.set(name, value);
        self
    }

    /// Sets an option; a later value of the same name wins.
    pub fn set(&mut self, name: impl Into<String>, value: impl ToString) {
        let (name, value) = (name.into(), value.to_string());
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value));
    }

    /// The text of an option; `None` if it is not set.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Which implementations may be used; [`Accelerator::Auto`] if it is not set.
    ///
    /// # Errors
    /// A value that is none: the text that says so.
    pub fn accelerator(&self) -> Result<Accelerator, String> {
        self.text(Accelerator::OPTION)
            .map_or(Ok(Accelerator::default()), str::parse)
    }

    /// The level at `name`, for instance `multifd-zstd-level`, or `default` if it is not set.
    ///
    /// # Errors
    /// A value that is not a number in `range`: the text that says so.
    pub fn level(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u8>,
        default: u8,
    ) -> Result<u8, String> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|level| range.contains(level))
            .ok_or_else(|| {
                format!(
                    "{name} is {text:?}, wanted a level of {} to {}",
                    range.start(),
                    range.end()
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked() {
        let options = MethodOptions::new()
            .with("multifd-zlib-level", 3)
            .with("multifd-zlib-level", 10);
        assert_eq!(options.level("multifd-zstd-level", 0..=20, 1), Ok(1));
        assert_eq!(
            options.level("multifd-zlib-level", 0..=9, 1).unwrap_err(),
            "multifd-zlib-level is \"10\", wanted a level of 0 to 9"
        );
        assert_eq!(
            options
                .with("multifd-zlib-level", 9)
                .level("multifd-zlib-level", 0..=9, 1),
            Ok(9)
        );
    }
}
