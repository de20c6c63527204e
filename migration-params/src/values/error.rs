// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be wrong with a value that stands alone.

use thiserror::Error;

/// A number or text that does not fit the type it was meant for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} expects {allowed}, got '{}'", given.escape_debug())]
pub struct ValueError {
    /// The name of the type.
    pub kind: &'static str,
    /// The number or text that was given.
    pub given: String,
    /// What would have been accepted, in words.
    pub allowed: String,
}
