// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a migration was not passed on.

use multifd_core::Error;

/// Why a migration failed at a relay. Where the guest is, its source and its destination know.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub struct RelayFailure {
    /// What failed first; its [place](Error::place) says on which side.
    pub error: Error,
}

impl From<RelayFailure> for Error {
    fn from(failure: RelayFailure) -> Self {
        failure.error
    }
}
