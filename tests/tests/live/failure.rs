// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whatever fails, and whenever: the guest is in exactly one place.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::Fault;
use multifd_migration::source::{GuestAfter, Status};
use multifd_migration::{GuestHere, SourceConfig, SourceHandle};
use multifd_tests::conformance::PageSource;
use multifd_tests::live::{Controls, Guest, Outcome, Pair, Rate};

use super::method;

const PAGES: u64 = 2048;
/// How many moments of each kind are tried: so many as the environment variable `MULTIFD_MOMENTS` says,
/// or 25.
pub(super) fn moments() -> u64 {
    let number = std::env::var("MULTIFD_MOMENTS").ok();
    number.and_then(|text| text.parse().ok()).unwrap_or(25)
}

#[test]
fn cancelled_at_any_moment() -> Result<()> {
    at_any_moment(1, |controls| {
        controls.source.cancel();
    })
}

#[test]
fn main_connection_cut_at_any_moment() -> Result<()> {
    at_any_moment(2, |controls| controls.cut(0))
}

#[test]
fn channel_cut_at_any_moment() -> Result<()> {
    at_any_moment(3, |controls| controls.cut(2))
}

#[test]
fn destination_gone_at_any_moment() -> Result<()> {
    at_any_moment(4, |controls| controls.cut_all())
}

#[test]
fn destination_aborted_at_any_moment() -> Result<()> {
    at_any_moment(5, |controls| controls.destination.abort())
}

#[test]
fn a_host_that_refuses_keeps_its_guest() -> Result<()> {
    for flaw in 0..2 {
        let mut guest = Guest::start(PAGES, Rate::Pages(4_000))?;
        guest.refuses_pause = flaw == 0;
        guest.refuses_devices = flaw == 1;
        let outcome = pair()?.migrate(&mut guest, |_| ())?;
        let failure = outcome
            .source
            .as_ref()
            .err()
            .context("it cannot have worked")?;
        ensure!(failure.error.fault() == Fault::Caller, "{failure}");
        ensure!(guest.states().last() == Some(&"failed"));
        in_one_place(&guest, &outcome)?;
        guest.refuses_pause = false;
        guest.refuses_devices = false;
        second_attempt(&mut guest)?;
    }
    Ok(())
}

#[test]
fn cancelled_while_it_waits() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Pages(4_000))?;
    let mut pair = pair()?;
    pair.config.pause_before_switchover = true;
    let outcome = pair.migrate(&mut guest, |controls| {
        while controls.source.status() != Status::PreSwitchover {
            std::thread::yield_now();
        }
        assert!(controls.source.cancel());
    })?;
    let failure = outcome.source.as_ref().err().context("it was cancelled")?;
    ensure!(failure.error.fault() == Fault::Aborted, "{failure}");
    let states = guest.states();
    ensure!(
        states.ends_with(&["pre-switchover", "cancelling", "cancelled"]),
        "{states:?}"
    );
    ensure!(guest.resumed == 1);
    in_one_place(&guest, &outcome)
}

/// Does `harm` at moments that are spread over a migration, each in a migration of its own, and
/// migrates the guest that stayed a second time.
fn at_any_moment(seed: u64, harm: impl Fn(&Controls) + Sync) -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Pages(4_000))?;
    let whole = pair()?.migrate(&mut guest, |_| ())?.source?.transferred();
    let mut random = PageSource::new(seed);
    let mut stayed = 0;
    for number in 0..moments() {
        let mut guest = Guest::start(PAGES, Rate::Pages(4_000))?;
        let moment = Moment::new(number, whole, &mut random);
        let outcome = pair()?.migrate(&mut guest, |controls| {
            moment.wait(&controls.source);
            harm(&controls);
        })?;
        in_one_place(&guest, &outcome).with_context(|| format!("{number}: {moment:?}"))?;
        if outcome.source.is_err() && guest.is_running() {
            stayed += 1;
            second_attempt(&mut guest).with_context(|| format!("after {number}: {moment:?}"))?;
        }
    }
    ensure!(stayed > 0, "no migration failed, so nothing was tested");
    Ok(())
}

/// A moment of a migration.
#[derive(Debug)]
enum Moment {
    /// So many bytes have been sent.
    Sent(u64),
    /// The guest has been paused for so long.
    Switchover(Duration),
}

impl Moment {
    /// A third of all moments is in the switchover, where the guest changes its place.
    fn new(number: u64, whole: u64, random: &mut PageSource) -> Self {
        match number % 3 {
            0 => Self::Switchover(Duration::from_micros(random.number() % 1000)),
            _ => Self::Sent(random.number() % whole),
        }
    }

    /// Waits for it, or for the end of the migration.
    fn wait(&self, source: &SourceHandle) {
        let is_here = || match self {
            Self::Sent(bytes) => source.info().ram.transferred >= *bytes,
            Self::Switchover(_) => source.status() == Status::Device,
        };
        while !is_here() && !source.status().is_final() {
            std::thread::yield_now();
        }
        if let Self::Switchover(time) = self {
            std::thread::sleep(*time);
        }
    }
}

/// The guest runs in exactly one place, or the source says that it does not know.
fn in_one_place(guest: &Guest, outcome: &Outcome) -> Result<()> {
    let there = outcome.destination.is_ok();
    match &outcome.source {
        Ok(_) => {
            ensure!(there, "it runs nowhere: {:?}", outcome.destination);
            ensure!(!guest.is_running(), "it runs on both sides");
            guest.check_copy(&outcome.copy)
        }
        Err(failure) if failure.guest == GuestAfter::InDoubt => {
            ensure!(!guest.is_running(), "it must wait for a decision");
            if let Err(failure) = &outcome.destination {
                let whole = failure.guest == GuestHere::WholeButNotReleased;
                ensure!(whole, "nobody says where it is: {failure}");
            }
            guest.check_copy(&outcome.copy)
        }
        Err(failure) => {
            ensure!(!there, "it runs on both sides, {failure}");
            ensure!(guest.is_running(), "it runs nowhere, {failure}");
            ensure!(guest.paused == guest.resumed);
            Ok(())
        }
    }
}

pub(super) fn second_attempt(guest: &mut Guest) -> Result<()> {
    let outcome = pair()?.migrate(guest, |_| ())?;
    outcome.source.as_ref().map_err(Clone::clone)?;
    let there = outcome.destination.is_ok();
    ensure!(there && !guest.is_running());
    guest.check_copy(&outcome.copy)
}

pub(super) fn pair() -> Result<Pair> {
    let mut config = SourceConfig::default();
    config.limits.confirm = Duration::from_secs(20);
    Ok(Pair {
        config,
        method: method("none")?,
        channels: 2,
        return_path: true,
        ends_destination_late: false,
        on_start: None,
    })
}
