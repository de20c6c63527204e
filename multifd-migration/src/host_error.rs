//! What a host answers that says no.

use multifd_core::{Error, Fault};

/// Whatever a host answers.
pub type HostError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a migration whose host said no.
pub(crate) fn refused(error: HostError) -> Error {
    Error::new(Fault::Caller, error)
}
