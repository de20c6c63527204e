//! Parameters and capabilities together.

use std::fmt;
use std::str::FromStr;

use crate::rules;
use crate::situation::{Host, Phase, Transport};
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
    /// Sets one parameter or capability: `name=value`, `name: value` or `name value`.
    ///
    /// # Errors
    ///
    /// [`ParamError`] says what is wrong; nothing has changed then.
    pub fn set(&mut self, text: &str) -> Result<(), ParamError> {
        self.apply(&text.parse()?)
    }

    /// Sets several at once, all of them or nothing. Where two name the same, the later wins.
    ///
    /// # Errors
    ///
    /// [`ParamError`] of the first text that is wrong, or of the rule that the result would break.
    pub fn set_all<T: AsRef<str>>(
        &mut self,
        texts: impl IntoIterator<Item = T>,
    ) -> Result<(), ParamError> {
        let mut update = SettingsUpdate::default();
        texts
            .into_iter()
            .try_for_each(|text| update.set(text.as_ref()))?;
        self.apply(&update)
    }

    /// Changes what `update` names before a migration begins, all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] when the result would break a rule; nothing has changed then.
    pub fn apply(&mut self, update: &SettingsUpdate) -> Result<(), ParamError> {
        self.apply_in(update, Phase::Idle)
    }

    /// As [`Settings::apply`], when the migration has come to `phase`.
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] also for a change that comes too late.
    pub fn apply_in(&mut self, update: &SettingsUpdate, phase: Phase) -> Result<(), ParamError> {
        rules::check_phase(&self.capabilities, &update.capabilities, phase)?;
        let mut new = self.clone();
        new.parameters.apply(&update.parameters)?;
        new.capabilities.apply(&update.capabilities)?;
        rules::check_settings(&new)?;
        *self = new;
        Ok(())
    }

    /// Checks every rule of the source, before it connects over `transport`.
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] for the first rule that is broken.
    pub fn check_migrate(&self, transport: Transport, host: &Host) -> Result<(), ParamError> {
        rules::check_settings(self)?;
        rules::check_both_sides(self, transport, host)?;
        rules::zero_copy_needs_socket_support(self, host)?;
        rules::dirty_limit_needs_dirty_ring(self, host)
    }

    /// Checks every rule of the destination, before it listens on `transport`.
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] for the first rule that is broken.
    pub fn check_incoming(&self, transport: Transport, host: &Host) -> Result<(), ParamError> {
        rules::check_settings(self)?;
        rules::check_both_sides(self, transport, host)?;
        rules::postcopy_needs_userfaultfd(self, host)
    }

    /// Checks that a snapshot may be saved or loaded.
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] for the first rule that is broken.
    pub fn check_snapshot(&self) -> Result<(), ParamError> {
        rules::check_settings(self)?;
        rules::snapshot_excludes_multifd(&self.capabilities)
    }

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
