// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a migration failed at the destination, and where the guest is after it.

use std::error::Error as StdError;
use std::fmt;

use multifd_core::{Error, Fault, Place, Side};

use crate::HostError;

/// Why a migration failed at its destination, and what is here of the guest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DestinationFailure {
    /// What failed first.
    pub error: Error,
    /// What is here of the guest.
    pub guest: GuestHere,
}

/// What a destination has of the guest after a migration that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GuestHere {
    /// Not all of it came, or the host did not take it: it runs on at the source, if that lives. What is here
    /// is to be thrown away. A source without a return path cannot be told so: if it has sent everything, it takes
    /// the guest for gone.
    NotHere,
    /// All of it is here, memory and devices, and [`DestinationHost::complete`](super::DestinationHost::complete) took
    /// it; but the last word is missing: that the source has given it up, or that the source has heard that it is here. It
    /// must not run here, nor be thrown away, before whoever manages both hosts has made sure that it does
    /// not run at the source. If the source is gone, this is the last copy.
    WholeButNotReleased,
    /// All of it is here, and the source has given it up for ever, but the host could not
    /// [start](super::DestinationHost::start) it. It must not be thrown away. A source that hands over has been told, if
    /// it could be, and keeps its own copy, paused: whoever manages both hosts starts one of the two, and drops the other
    /// one. Any other source takes the guest for gone, so this may be the last copy.
    WholeButNotStarted,
}

impl DestinationFailure {
    pub(super) fn not_here(error: Error) -> Self {
        let guest = GuestHere::NotHere;
        Self { error, guest }
    }

    /// `what` is missing, which failed with `error`.
    pub(super) fn not_released(what: &str, error: &Error) -> Self {
        let what = format!(
            "all of the guest is here, but {what}, so it must not run here unless it certainly does not run there: {error}"
        );
        Self {
            error: Error::new(error.fault(), what).at(error.place().clone()),
            guest: GuestHere::WholeButNotReleased,
        }
    }

    /// The host could not start it.
    pub(super) fn not_started(error: HostError) -> Self {
        let what =
            format!("all of the guest is here, but it could not be started, and is kept: {error}");
        Self {
            error: Error::new(Fault::Caller, what).at(Place::on(Side::Destination)),
            guest: GuestHere::WholeButNotStarted,
        }
    }
}

// By hand: with `error` as its source, a chain of errors would say the same twice.
impl fmt::Display for DestinationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for DestinationFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl From<DestinationFailure> for Error {
    fn from(failure: DestinationFailure) -> Self {
        failure.error
    }
}
