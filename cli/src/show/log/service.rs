// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a service says of itself, apart from what the libraries log.

/// The target of what a service says of itself: shown from the level `info` on, where the libraries are heard from
/// `warn` on. No module's name begins so: a filter takes the beginning of a name for the name.
pub(crate) const SERVICE: &str = "service";
