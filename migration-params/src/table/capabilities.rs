// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The migration capabilities.

use std::fmt;
use std::str::FromStr;

use super::assignment::Assignment;
use super::capability_rows::with_capabilities;
use super::catalog;
use super::error::ParamError;
use super::group::Group;
use super::make::table;
use crate::values::value::{self, Value};

with_capabilities! { table! {
    Capability,
    /// Every capability, on or off: what QMP's `query-migrate-capabilities` returns.
    ///
    /// Fields may be set directly; rules between them are checked by [`Capabilities::apply`] and by the
    /// whole checks of [`Settings`](crate::Settings).
    Capabilities,
    /// Some capabilities to switch on or off: what QMP's `migrate-set-capabilities` takes.
    CapabilitiesUpdate;
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_off_by_default() {
        assert!(
            Capabilities::default()
                .entries()
                .all(|(_, value)| value == "off")
        );
        assert_eq!(
            Capabilities::default().entries().count(),
            CapabilitiesUpdate::NAMES.len()
        );
    }
}
