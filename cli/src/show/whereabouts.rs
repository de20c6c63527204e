// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the guest is when a command ends: the last line of text, a member of JSON, an exit status.

use multifd_migration::GuestHere;
use multifd_migration::source::GuestAfter;

/// Where the guest is, as one side knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// At the source: it stayed.
    Stayed,
    /// At the source: the destination has it.
    Left,
    /// At the source: the destination may have it.
    InDoubt,
    /// At the destination: it is here.
    Arrived,
    /// At the destination: it did not come.
    NotHere,
    /// At the destination: all of it is here, but the source has not released it.
    Kept,
    /// At the destination: all of it is here, but it could not be started.
    NotStarted,
}

impl Whereabouts {
    /// The member `guest` of JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stayed | Self::Arrived => "here",
            Self::Left => "there",
            Self::InDoubt => "in-doubt",
            Self::NotHere => "not-here",
            Self::Kept | Self::NotStarted => "kept",
        }
    }

    /// The last line of text.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Stayed => "guest: it is here, as before; the destination does not have it",
            Self::Left => "guest: the destination has it; it must not run here any more",
            Self::InDoubt => {
                "guest: in doubt, the destination may have it: look there before it runs anywhere"
            }
            Self::Arrived => "guest: it is here",
            Self::NotHere => "guest: it is not here",
            Self::Kept => {
                "guest: all of it is kept here, but the source has not released it: look there before \
                 it runs anywhere"
            }
            Self::NotStarted => {
                "guest: all of it is kept here, but it could not be started, and the source has given it up"
            }
        }
    }
}

impl From<GuestAfter> for Whereabouts {
    fn from(guest: GuestAfter) -> Self {
        match guest {
            GuestAfter::Here => Self::Stayed,
            GuestAfter::InDoubt => Self::InDoubt,
        }
    }
}

impl From<GuestHere> for Whereabouts {
    fn from(guest: GuestHere) -> Self {
        match guest {
            GuestHere::WholeButNotReleased => Self::Kept,
            GuestHere::WholeButNotStarted => Self::NotStarted,
            _ => Self::NotHere,
        }
    }
}
