// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is wrong in a recording.

use serde::Serialize;

/// Something that must not be, and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Anomaly {
    /// Bytes before it.
    pub(super) offset: u64,
    pub(super) what: String,
}
