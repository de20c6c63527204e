// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What both sides say in the end, and whether it is true.

use anyhow::{Result, bail, ensure};
use multifd_core::Fault;
use multifd_migration::GuestHere;
use multifd_migration::source::GuestAfter;
use multifd_tests::live::{Guest, Outcome};

/// What both sides say in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// It runs there.
    Moved,
    /// It runs here, and is not there.
    Stayed,
    /// It runs here, and all of it is kept there.
    StayedWhole,
    /// Here nobody knows, and all of it is kept there.
    DoubtWhole,
    /// Here nobody knows, and it runs there.
    DoubtThere,
    /// Here nobody knows, and it is not there.
    DoubtNowhere,
}

impl End {
    /// What both sides say, if it is true and fits together.
    pub(super) fn of(guest: &Guest, outcome: &Outcome) -> Result<Self> {
        let here = match &outcome.source {
            Ok(_) => None,
            Err(failure) => Some(failure.guest),
        };
        let there = match &outcome.destination {
            Ok(_) => None,
            Err(failure) => Some(failure.guest),
        };
        let end = match (here, there) {
            (None, None) => Self::Moved,
            (Some(GuestAfter::Here), Some(GuestHere::NotHere)) => Self::Stayed,
            (Some(GuestAfter::Here), Some(GuestHere::WholeButNotReleased)) => Self::StayedWhole,
            (Some(GuestAfter::InDoubt), Some(GuestHere::WholeButNotReleased)) => Self::DoubtWhole,
            (Some(GuestAfter::InDoubt), Some(GuestHere::NotHere)) => Self::DoubtNowhere,
            (Some(GuestAfter::InDoubt), None) => Self::DoubtThere,
            _ => bail!("it is lost or doubled: {}", describe(outcome)),
        };
        let runs = matches!(end, Self::Stayed | Self::StayedWhole);
        ensure!(guest.is_running() == runs, "{end:?}, {}", describe(outcome));
        ensure!(guest.resumed == usize::from(runs) && guest.paused == 1);
        if !matches!(end, Self::Stayed | Self::DoubtNowhere) {
            guest.check_copy(&outcome.copy)?;
            ensure!(outcome.devices.is_some(), "{end:?} without devices");
        }
        let states = guest.states();
        let state = states.last().copied().unwrap_or_default();
        let error = outcome.source.as_ref().err();
        let want = match error.map(|failure| failure.error.fault()) {
            None => "completed",
            Some(Fault::Aborted) if runs => "cancelled",
            Some(_) => "failed",
        };
        ensure!(state == want, "{state}, {end:?}, {}", describe(outcome));
        Ok(end)
    }
}

pub(super) fn describe(outcome: &Outcome) -> String {
    let (source, destination) = (&outcome.source, &outcome.destination);
    format!("source: {source:?}, destination: {destination:?}")
}
