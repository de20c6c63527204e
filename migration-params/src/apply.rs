// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Changing settings with the rules checked, and checking them before a migration.

use crate::rules;
use crate::settings::{Settings, SettingsUpdate};
use crate::situation::{Host, Phase, Transport};
use crate::table::capabilities::{Capabilities, CapabilitiesUpdate};
use crate::table::error::ParamError;
use crate::table::parameters::{Parameters, ParametersUpdate};

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
}

impl Parameters {
    /// Changes what `update` names, all of it or nothing.
    ///
    /// Rules that need both parameters and capabilities are left to [`Settings`].
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] when the result would break a rule; nothing has changed then.
    pub fn apply(&mut self, update: &ParametersUpdate) -> Result<(), ParamError> {
        let new = self.with(update);
        rules::check_parameters(&new)?;
        *self = new;
        Ok(())
    }
}

impl Capabilities {
    /// Changes what `update` names, all of it or nothing.
    ///
    /// Rules that need both parameters and capabilities are left to [`Settings`].
    ///
    /// # Errors
    ///
    /// [`ParamError::Conflict`] when the result would break a rule; nothing has changed then.
    pub fn apply(&mut self, update: &CapabilitiesUpdate) -> Result<(), ParamError> {
        let new = self.with(update);
        rules::check_capabilities(&new)?;
        *self = new;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelCount, CpuThrottle};

    #[test]
    fn an_update_of_parameters_that_breaks_a_rule_changes_nothing() {
        let mut parameters = Parameters::default();
        let update = ParametersUpdate {
            multifd_channels: Some(ChannelCount::constant::<8>()),
            max_cpu_throttle: Some(CpuThrottle::constant::<10>()),
            ..Default::default()
        };
        parameters.apply(&update).unwrap_err();
        assert_eq!(parameters, Parameters::default());

        let together = ParametersUpdate {
            cpu_throttle_initial: Some(CpuThrottle::constant::<5>()),
            ..update
        };
        parameters.apply(&together).unwrap();
        assert_eq!(parameters.multifd_channels.value(), 8);
        assert_eq!(parameters.max_cpu_throttle.value(), 10);
        assert_eq!(
            parameters.downtime_limit,
            Parameters::default().downtime_limit
        );
    }

    #[test]
    fn an_update_of_capabilities_that_breaks_a_rule_changes_nothing() {
        let mut capabilities = Capabilities::default();
        let update = CapabilitiesUpdate {
            events: Some(true),
            switchover_ack: Some(true),
            ..Default::default()
        };
        capabilities.apply(&update).unwrap_err();
        assert_eq!(capabilities, Capabilities::default());
        let together = CapabilitiesUpdate {
            return_path: Some(true),
            ..update
        };
        capabilities.apply(&together).unwrap();
        assert!(capabilities.events && capabilities.switchover_ack && capabilities.return_path);
        assert!(!capabilities.multifd);
    }
}
