//! A migration that failed, and where the guest is.

use multifd_core::Error;

/// Why a migration failed, and where the guest is after it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
#[non_exhaustive]
pub struct SourceFailure {
    /// What failed first.
    #[source]
    pub error: Error,
    /// Where the guest is.
    pub guest: GuestAfter,
}

/// Where the guest is after a migration that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestAfter {
    /// Here, running if it ran before. The destination does not run it and never will.
    Here,
    /// It is paused here, and was not resumed: the destination was sent everything, and may run it
    /// or not. Whoever manages both hosts has to look, and then to resume it on one of them.
    ///
    /// This takes a peer or a link that dies in the moment of the handover; a destination that says no
    /// or closes its connections without a word leaves the guest [`Here`](Self::Here).
    InDoubt,
}

impl From<SourceFailure> for Error {
    fn from(failure: SourceFailure) -> Self {
        failure.error
    }
}
