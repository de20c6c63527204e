// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a migration stands, in QEMU's terms, and where the guest is if it fails.

use std::fmt;

use multifd_core::Error;

use crate::Work;

/// The state of a migration. Names and order are those of QEMU's `MigrationStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Not started.
    #[default]
    None,
    /// Connections, method and head of the stream.
    Setup,
    /// Memory is sent while the guest runs.
    Active,
    /// The guest is paused, and waits for [`SourceHandle::proceed`](super::SourceHandle::proceed).
    PreSwitchover,
    /// The guest is paused: the last memory and the devices are sent.
    Device,
    /// The guest is at the destination.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled, and is about to end.
    Cancelling,
    /// It was cancelled; the guest is here, as before.
    Cancelled,
}

impl Status {
    /// QEMU's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Setup => "setup",
            Self::Active => "active",
            Self::PreSwitchover => "pre-switchover",
            Self::Device => "device",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the migration has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What [`SourceHost::event`](super::SourceHost::event) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// QEMU's event `MIGRATION`.
    Status(Status),
    /// QEMU's event `MIGRATION_PASS`: the dirty log was fetched, for the given time.
    Pass(u64),
    /// The destination has everything, and says what it does before it confirms; once for each kind of work.
    DestinationWorks(Work),
}

/// Why a migration failed at its source, and where the guest is after it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceFailure {
    /// What failed first.
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
    /// With a destination that hands over, one of this crate, it can be in doubt only from the moment when that is told to
    /// run the guest: it has not answered, or has said that it could not start it. Any other one runs the guest before it says so: there it is in doubt from the moment when
    /// the devices are sent, unless it says that it could not take the guest.
    InDoubt,
}

// By hand: with `error` as its source, a chain of errors would say the same twice.
impl fmt::Display for SourceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for SourceFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<SourceFailure> for Error {
    fn from(failure: SourceFailure) -> Self {
        failure.error
    }
}

/// Where the guest can be when something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The destination cannot have everything, or does not run the guest before it is told to.
    Sending,
    /// The destination may have everything, and may run the guest.
    Sent,
    /// The destination was told to run it.
    GivenUp,
}
