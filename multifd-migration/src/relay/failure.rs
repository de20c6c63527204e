//! Why a migration was not passed on.

use std::error::Error as StdError;
use std::fmt;

use multifd_core::Error;

/// Why a migration failed at a relay. Where the guest is, its source and its destination know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayFailure {
    /// What failed first; its [place](Error::place) says on which side.
    pub error: Error,
}

// By hand: with `error` as its source, a chain of errors would say the same twice.
impl fmt::Display for RelayFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for RelayFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<RelayFailure> for Error {
    fn from(failure: RelayFailure) -> Self {
        failure.error
    }
}
