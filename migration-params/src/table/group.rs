// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The two kinds of settings.

use std::fmt;

/// Whether a name is set by QMP's `migrate-set-parameters` or `migrate-set-capabilities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Has a value of its own type; may change at any time.
    Parameter,
    /// Is on or off; fixed while a migration is running.
    Capability,
}

impl Group {
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Parameter => "parameter",
            Self::Capability => "capability",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Parameter => "Parameter",
            Self::Capability => "Capability",
        })
    }
}
