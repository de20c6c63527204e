// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a source promises of its guest, whatever the destination does.

use std::num::NonZeroU64;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multifd_core::Fault;
use multifd_migration::source::{GuestAfter, OverTime, SourceFailure, Status};
use multifd_migration::stream::{Incoming, ReturnMessage, StreamError};
use multifd_migration::{DestinationConfig, GuestHere, Report, RunState, SourceHandle};
use multifd_tests::live::{ACCEPT, Guest, OFFER, Pair, Rate, Step, take_memory};
use multifd_tests::network::{self, Ending, Link, Taps, Watchdog};

use super::failure::{pair, second_attempt};

const PAGES: u64 = 64;

#[test]
fn a_destination_that_answers_no_ping_gets_no_guest() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    let mut pair = pair()?;
    pair.config.limits.confirm = Duration::from_millis(50);
    let failure = scripted(pair, &mut guest, |_, mut main, _| {
        // Ends when the source has given up.
        let _ = take_memory(&mut main, |_| None);
    })?;
    let text = failure.error.to_string();
    ensure!(text.contains("not answered a single PING"), "{text}");
    stays_unpaused(&mut guest, &failure)
}

#[test]
fn a_destination_whose_side_ends_gets_no_guest() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    let failure = scripted(pair()?, &mut guest, |taps, mut main, _| {
        // It answers the first PING, and reads on.
        let mut first = true;
        let _ = take_memory(&mut main, |value| {
            if std::mem::take(&mut first) {
                return Some(value);
            }
            taps.back.cut(Ending::Eof);
            None
        });
    })?;
    let text = failure.error.to_string();
    ensure!(text.contains("closed the main connection"), "{text}");
    stays_unpaused(&mut guest, &failure)
}

/// The time is over before the destination has come to answering: it is waited for.
#[test]
fn a_destination_may_take_its_time_to_answer() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut guest = Guest::start(PAGES, Rate::Full)?;
    let mut pair = pair()?;
    pair.config.time_limit = Some(Duration::ZERO);
    pair.config.over_time = OverTime::SwitchOver;
    let (ours, theirs, taps) = network::pair(Link::default(), Link::default().hold_after(0));
    let config = DestinationConfig::default();
    let outcome = pair.migrate_over((ours, theirs), config, &mut guest, |_| {
        // Both answers to the head's PINGs, and some time for a source that does not wait.
        taps.back.wait_sent(16);
        std::thread::sleep(Duration::from_millis(100));
        taps.back.release();
    })?;
    outcome.source?;
    outcome.destination?;
    guest.check_copy(&outcome.copy)
}

#[test]
fn a_destination_like_qemus_that_ends_leaves_the_guest_in_doubt() -> Result<()> {
    for ending in [Ending::Eof, Ending::Reset] {
        let mut guest = Guest::start(PAGES, Rate::Never)?;
        let failure = scripted(pair()?, &mut guest, |taps, mut main, handle| {
            take_guest(&mut main).unwrap();
            assert!(!handle.cancel(), "it may run there");
            assert!(!handle.memory_changed(), "it may run there");
            taps.back.cut(ending);
        })?;
        ensure!(failure.guest == GuestAfter::InDoubt, "{failure:?}");
        ensure!(failure.error.fault() == Fault::Connection, "{failure:?}");
        ensure!(!guest.is_running() && guest.resumed == 0);
        ensure!(guest.states().last() == Some(&"failed"), "{failure:?}");
    }
    Ok(())
}

#[test]
fn a_destination_like_qemus_that_refuses_leaves_the_guest_here() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    let failure = scripted(pair()?, &mut guest, |_, mut main, _| {
        take_guest(&mut main).unwrap();
        let _ = main.reply(ReturnMessage::Shut(1));
    })?;
    ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
    ensure!(failure.error.fault() == Fault::Peer, "{failure:?}");
    ensure!(guest.is_running() && guest.resumed == 1);
    second_attempt(&mut guest)
}

/// Such a destination may run the guest as soon as it has everything, whatever it says.
#[test]
fn a_handover_that_was_not_offered_is_none() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    let mut pair = pair()?;
    pair.config.hand_over = false;
    let failure = scripted(pair, &mut guest, |taps, mut main, _| {
        let mut first = true;
        let answered = take_memory(&mut main, |value| {
            Some(if std::mem::take(&mut first) {
                ACCEPT
            } else {
                value
            })
        });
        answered.and_then(|()| main.read_tail()).unwrap();
        taps.back.cut(Ending::Eof);
    })?;
    ensure!(failure.guest == GuestAfter::InDoubt, "{failure:?}");
    ensure!(!guest.is_running() && guest.resumed == 0);
    Ok(())
}

/// After SHUT 0 a destination that hands over has no say: whatever it sends, the guest was given up.
#[test]
fn what_comes_after_the_confirmation_does_not_bring_the_guest_back() -> Result<()> {
    for message in [ReturnMessage::Shut(1), ReturnMessage::Shut(0)] {
        let mut guest = Guest::start(PAGES, Rate::Never)?;
        let failure = scripted(pair()?, &mut guest, |taps, mut main, handle| {
            let answered = take_memory(&mut main, |value| {
                Some(if value == OFFER { ACCEPT } else { value })
            });
            answered.and_then(|()| main.read_tail()).unwrap();
            let before = taps.forth.sent();
            main.reply(ReturnMessage::Shut(0)).unwrap();
            // The word to run the guest.
            taps.forth.wait_sent(before + 9);
            assert!(!handle.cancel(), "it was given up");
            assert!(!handle.memory_changed(), "it was given up");
            main.reply(message).unwrap();
        })?;
        ensure!(failure.guest == GuestAfter::InDoubt, "{failure:?}");
        ensure!(!guest.is_running() && guest.resumed == 0);
    }
    Ok(())
}

/// The destination's reason comes a moment after the connections break: the guest does not stand still for it.
#[test]
fn the_guest_is_resumed_before_the_last_word() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    let (ours, theirs, taps) = network::pair(Link::default(), Link::default());
    let (say, resumed) = mpsc::channel();
    let forth = taps.forth.clone();
    guest.on_step = Some(Box::new(move |step| match step {
        Step::Save => forth.cut_after(forth.sent(), Ending::Reset),
        Step::Resume => say.send(()).unwrap(),
        Step::StopLog => {}
    }));
    let script = move |mut main: Incoming, _| {
        let _ = take_memory(&mut main, |value| {
            Some(if value == OFFER { ACCEPT } else { value })
        });
        resumed.recv().unwrap();
        main.reply(ReturnMessage::Shut(1)).unwrap();
    };
    let result = pair()?.migrate_to_script((ours, theirs), &mut guest, script)?;
    let failure = result.err().context("the connection was cut")?;
    ensure!(failure.error.fault() == Fault::Peer, "{failure:?}");
    ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
    Ok(())
}

/// There the end of the main connection is what the destination waits for. To stop a log takes long.
#[test]
fn without_a_return_path_the_guest_arrives_before_the_log_is_stopped() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut guest = Guest::start(PAGES, Rate::Pages(1000))?;
    let (ours, theirs, taps) = network::pair(Link::default(), Link::default());
    guest.on_step = Some(Box::new(move |step| {
        if step == Step::StopLog {
            // It closes its end once it has everything.
            taps.forth.wait_receiver_gone();
        }
    }));
    let mut pair = pair()?;
    pair.return_path = false;
    let config = DestinationConfig::default();
    let outcome = pair.migrate_over((ours, theirs), config, &mut guest, |_| ())?;
    outcome.source?;
    outcome.destination?;
    guest.check_copy(&outcome.copy)
}

/// The user ends the destination while its host loads the devices. A source that cannot be told takes the guest for
/// gone, so this copy is the last one.
#[test]
fn a_destination_that_is_ended_late_throws_no_last_copy_away() -> Result<()> {
    for return_path in [true, false] {
        let mut guest = Guest::start(PAGES, Rate::Pages(1000))?;
        let mut pair = pair()?;
        pair.return_path = return_path;
        pair.ends_destination_late = true;
        let outcome = pair.migrate(&mut guest, |_| ())?;
        let there = outcome.destination.err().context("it was ended")?.guest;
        let here = outcome.source.err().map(|failure| failure.guest);
        if return_path {
            ensure!((here, there) == (Some(GuestAfter::Here), GuestHere::NotHere));
        } else {
            ensure!((here, there) == (None, GuestHere::WholeButNotReleased));
            guest.check_copy(&outcome.copy)?;
        }
    }
    Ok(())
}

#[test]
fn what_devices_write_when_they_are_saved_arrives() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    guest.device_writes = Some(PAGES / 2);
    let outcome = pair()?.migrate(&mut guest, |_| ())?;
    outcome.source?;
    outcome.destination?;
    guest.check_copy(&outcome.copy)
}

#[test]
fn a_device_that_writes_too_late_is_found() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Never)?;
    guest.writes_late = Some(PAGES / 2);
    let mut checked = pair()?;
    checked.config.check_pause = true;
    let failure = checked.migrate(&mut guest, |_| ())?.source;
    let failure = failure.err().context("a write was lost")?;
    let error = failure.to_string();
    let place = format!("block \"ram\", offset {:#x}", PAGES / 2 * 4096);
    ensure!(
        error.contains(&place) && error.contains("not stopped"),
        "{error}"
    );
    ensure!(failure.guest == GuestAfter::Here && guest.is_running());

    // Without one, all is well.
    let mut guest = Guest::start(PAGES, Rate::Pages(1000))?;
    guest.device_writes = Some(PAGES / 2);
    let mut checked = pair()?;
    checked.config.check_pause = true;
    let outcome = checked.migrate(&mut guest, |_| ())?;
    outcome.source?;
    outcome.destination?;
    guest.check_copy(&outcome.copy)
}

#[test]
fn a_paused_guest_stays_paused() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Pages(1000))?;
    guest.stop();
    guest.refuses_devices = true;
    let outcome = pair()?.migrate(&mut guest, |_| ())?;
    let failure = outcome.source.err().context("the device has no state")?;
    ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
    ensure!(!guest.is_running() && guest.resumed == 0);

    guest.refuses_devices = false;
    let outcome = pair()?.migrate(&mut guest, |_| ())?;
    let states = [outcome.source?, outcome.destination?].map(|report| report.run_state);
    ensure!(states == [Some(RunState::Paused); 2], "{states:?}");
    guest.check_copy(&outcome.copy)?;

    let mut guest = Guest::start(PAGES, Rate::Pages(1000))?;
    let outcome = pair()?.migrate(&mut guest, |_| ())?;
    let state = outcome.destination?.run_state;
    ensure!(state != Some(RunState::Paused), "{state:?}");
    Ok(())
}

#[test]
fn a_guest_whose_memory_changes_stays() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut guest = Guest::start(PAGES, Rate::Full)?;
    let mut slow = pair()?;
    // It takes seconds to send.
    slow.config.tuning.max_bandwidth = NonZeroU64::new(64 << 10);
    let outcome = slow.migrate(&mut guest, |controls| {
        while matches!(controls.source.status(), Status::None | Status::Setup) {
            std::thread::yield_now();
        }
        assert!(controls.source.memory_changed());
        assert!(controls.source.memory_changed(), "as often as it likes");
    })?;
    let failure = outcome.source.err().context("its memory has changed")?;
    ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
    ensure!(failure.error.fault() == Fault::Caller, "{failure:?}");
    ensure!(outcome.destination.is_err() && guest.is_running());
    second_attempt(&mut guest)
}

/// Migrates to a destination that does as the script says, and answers why that fails.
fn scripted(
    pair: Pair,
    guest: &mut Guest,
    script: impl FnOnce(&Taps, Incoming, SourceHandle) + Send,
) -> Result<SourceFailure> {
    let _watchdog = Watchdog::start();
    let (ours, theirs, taps) = network::pair(Link::default(), Link::default());
    let script = |main, handle| script(&taps, main, handle);
    let result: Result<Report, _> = pair.migrate_to_script((ours, theirs), guest, script)?;
    result.err().context("it has worked")
}

/// Takes everything, as a QEMU does.
fn take_guest(main: &mut Incoming) -> Result<(), StreamError> {
    take_memory(main, Some)?;
    main.read_tail()?;
    Ok(())
}

fn stays_unpaused(guest: &mut Guest, failure: &SourceFailure) -> Result<()> {
    ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
    ensure!(failure.error.fault() == Fault::Connection, "{failure:?}");
    ensure!(guest.paused == 0 && guest.resumed == 0, "{failure:?}");
    second_attempt(guest)
}
