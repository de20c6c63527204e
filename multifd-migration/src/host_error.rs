// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a host answers that says no.

use multifd_core::{Error, Fault};

/// Whatever a host answers. It becomes the [cause](multifd_core::Error::cause) of the migration's error, of which all threads
/// of the migration have a share, so it is `Sync`. What is not can be given as its text:
/// `.map_err(|error| error.to_string())?`.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a migration whose host said no.
pub(crate) fn refused(error: HostError) -> Error {
    Error::new(Fault::Caller, error)
}
