// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What this method reports.

use multifd_core::method::Accelerator;
use multifd_core::{MethodError, MethodIdentity};

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = MethodIdentity::QPL.name();

/// Why the device has not done a packet.
pub(crate) enum Trouble {
    /// It does nothing.
    Silent,
    Refused(MethodError),
}

impl From<MethodError> for Trouble {
    fn from(error: MethodError) -> Self {
        Self::Refused(error)
    }
}

/// A page that is neither with the device nor done.
pub(crate) fn lost_page() -> MethodError {
    MethodError::device(NAME, "a page is not where its session has it")
}

/// The device has to do everything, and does not.
pub(crate) fn refusal(what: &str) -> MethodError {
    let (option, choice) = (Accelerator::OPTION, Accelerator::Hardware);
    MethodError::device(NAME, format!("{option}={choice}, but {what}"))
}
