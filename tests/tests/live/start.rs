// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Hosts that start the guest behind the source's last word, and hosts that cannot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::Fault;
use multifd_migration::source::GuestAfter;
use multifd_migration::{GuestHere, RunState};
use multifd_tests::live::{Guest, Pair, Rate};

use crate::failure::pair;

const REASON: &str = "its disk is locked";

/// A destination whose host cannot start what has come.
fn cannot_start() -> Result<Pair> {
    let mut pair = pair()?;
    pair.on_start = Some(Box::new(|_| Err(REASON.into())));
    Ok(pair)
}

#[test]
fn the_source_waits_until_the_guest_runs() -> Result<()> {
    const TAKES: Duration = Duration::from_millis(30);
    let mut guest = Guest::start(256, Rate::Pages(500))?;
    let calls = Arc::new(AtomicUsize::new(0));
    let mut pair = pair()?;
    pair.on_start = Some(Box::new({
        let calls = Arc::clone(&calls);
        move |run_state| {
            if run_state != RunState::Running {
                return Err("it ran".into());
            }
            calls.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(TAKES);
            Ok(())
        }
    }));
    let outcome = pair.migrate(&mut guest, |_| ())?;
    ensure!(calls.load(Ordering::Relaxed) == 1);
    let (sent, received) = (outcome.source?, outcome.destination?);
    let items = sent.down_time_items.context("where the down time went")?;
    // However busy the machine is: it is no less than what the start takes.
    ensure!(items.destination >= TAKES, "{items:?}");
    ensure!(received.down_time >= TAKES, "{received:?}");
    guest.check_copy(&outcome.copy)
}

#[test]
fn what_cannot_be_started_is_whole_on_both_sides() -> Result<()> {
    let mut guest = Guest::start(256, Rate::Pages(500))?;
    let outcome = cannot_start()?.migrate(&mut guest, |_| ())?;
    let here = outcome.source.err().context("it was started")?;
    ensure!(here.guest == GuestAfter::InDoubt, "{here}");
    ensure!(here.error.fault() == Fault::Peer, "{here}");
    ensure!(
        here.to_string().contains("could not start it (SHUT 1)"),
        "{here}"
    );
    ensure!(!guest.is_running(), "it may run at the destination one day");
    let there = outcome.destination.err().context("it was started")?;
    ensure!(there.guest == GuestHere::WholeButNotStarted, "{there}");
    ensure!(there.to_string().contains(REASON), "{there}");
    guest.check_copy(&outcome.copy)
}

/// A source that does not hand over, as a QEMU does not, is not told to run a guest that has left.
#[test]
fn a_source_that_waits_for_no_start_has_given_it_up() -> Result<()> {
    for return_path in [true, false] {
        let mut guest = Guest::start(256, Rate::Pages(500))?;
        let mut pair = cannot_start()?;
        pair.config.hand_over = false;
        pair.return_path = return_path;
        let outcome = pair.migrate(&mut guest, |_| ())?;
        outcome.source?;
        ensure!(!guest.is_running());
        let there = outcome.destination.err().context("it was started")?;
        ensure!(there.guest == GuestHere::WholeButNotStarted, "{there}");
        guest.check_copy(&outcome.copy)?;
    }
    Ok(())
}
