// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parameters and capabilities together.

use std::fmt;
use std::str::FromStr;

use crate::table::assignment::Assignment;
use crate::table::capabilities::{Capabilities, CapabilitiesUpdate};
use crate::table::error::ParamError;
use crate::table::parameters::{Parameters, ParametersUpdate};

/// Everything that one side of a migration is told.
///
/// Every way of changing it but the fields themselves checks the rules on the new values. So a
/// `Settings` that breaks a rule cannot come about, in whatever order its values were set. QEMU lets
/// `mapped-ram` be switched on beside compression or TLS and refuses to migrate; here the setting is
/// refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The parameters.
    pub parameters: Parameters,
    /// The capabilities.
    pub capabilities: Capabilities,
}

/// New values for some parameters and capabilities.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettingsUpdate {
    /// The parameters to change.
    pub parameters: ParametersUpdate,
    /// The capabilities to change.
    pub capabilities: CapabilitiesUpdate,
}

impl Settings {
    /// Every name with its value as text that can be set again, parameters first.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.parameters.entries().chain(self.capabilities.entries())
    }
}

/// One `name: value` per line, parameters first.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.parameters, self.capabilities)
    }
}

impl SettingsUpdate {
    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty() && self.capabilities.is_empty()
    }

    /// Adds what `later` names; where both name the same, `later` wins.
    pub fn merge(&mut self, later: Self) {
        self.parameters.merge(later.parameters);
        self.capabilities.merge(later.capabilities);
    }

    /// Adds one assignment to a parameter or capability: `name=value`, `name: value` or `name value`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] says what is wrong with the name or the value.
    pub fn set(&mut self, text: &str) -> Result<(), ParamError> {
        let assignment = Assignment::split(text)?;
        if CapabilitiesUpdate::NAMES.contains(&assignment.name) {
            self.capabilities.assign(assignment)
        } else {
            self.parameters.assign(assignment)
        }
    }
}

impl FromStr for SettingsUpdate {
    type Err = ParamError;

    /// Reads one assignment: `name=value`, `name: value` or `name value`.
    fn from_str(text: &str) -> Result<Self, ParamError> {
        let mut update = Self::default();
        update.set(text)?;
        Ok(update)
    }
}

impl From<ParametersUpdate> for SettingsUpdate {
    fn from(parameters: ParametersUpdate) -> Self {
        Self {
            parameters,
            ..Self::default()
        }
    }
}

impl From<CapabilitiesUpdate> for SettingsUpdate {
    fn from(capabilities: CapabilitiesUpdate) -> Self {
        Self {
            capabilities,
            ..Self::default()
        }
    }
}
