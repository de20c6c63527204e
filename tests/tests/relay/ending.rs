// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The last messages of a migration, from two sides that keep their connections.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use multifd_core::Side;
use multifd_migration::stream::ReturnMessage;
use multifd_tests::by_hand::main_stream;

use crate::bench::{GO, OFFER, Setting, failed, relay, relay_with};
use crate::rig::FOREVER;

#[test]
fn it_ends_behind_the_last_message() -> Result<()> {
    let report = relay(FOREVER, |bench| {
        bench.sent(false)?;
        bench.confirmed()
    })??;
    ensure!(report.confirmed);
    let report = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        // In pieces.
        let go = main_stream::ping(GO);
        let (first, second) = go.split_at(4);
        bench.source.say(first)?;
        bench.destination.take_until(first)?;
        bench.source.say(second)?;
        bench.destination.take_until(second)?;
        bench.destination.say(ReturnMessage::Pong(GO))?;
        bench.source.wait_for(ReturnMessage::Pong(GO))
    })??;
    ensure!(report.confirmed);
    Ok(())
}

#[test]
fn a_source_that_goes_before_it_gives_the_guest_up() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        Ok(bench.source.main.shutdown(std::net::Shutdown::Both)?)
    })?;
    failed(
        result,
        Side::RelayIn,
        "closed the main connection before it has given the guest up",
    )
}

#[test]
fn a_destination_that_goes_before_the_source_gives_the_guest_up() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        bench.destination.close();
        Ok(())
    })?;
    failed(
        result,
        Side::RelayOut,
        "before the source has given the guest up",
    )
}

/// It is told what to do, and nobody hears that it does so.
#[test]
fn a_source_that_goes_when_it_has_given_the_guest_up() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        let go = main_stream::ping(GO);
        bench.source.say(&go)?;
        bench.destination.take_until(&go)?;
        Ok(bench.source.main.shutdown(std::net::Shutdown::Both)?)
    })?;
    // The destination says nothing, either.
    ensure!(!result?.confirmed);
    Ok(())
}

/// Where the source's last byte is, a relay does not know.
#[test]
fn two_sides_that_wait_for_each_other() -> Result<()> {
    let short = Duration::from_millis(50);
    let result = relay(short, |bench| {
        let mut tail = main_stream::tail();
        tail.truncate(3);
        bench.source.begin(&main_stream::ping(OFFER))?;
        bench
            .source
            .say_on_all(&multifd_tests::by_hand::packet::sync())?;
        bench.source.say(&[main_stream::ram_end(), tail].concat())
    })?;
    failed(
        result,
        Side::RelayIn,
        "behind the end of memory the source has sent nothing, nor has the destination said that it has \
         everything, for 0.05 s",
    )?;
    // Long enough for a busy machine to come so far.
    let result = relay(Duration::from_secs(3), |bench| {
        bench.sent(true)?;
        bench.confirmed()
    })?;
    failed(
        result,
        Side::RelayIn,
        "the destination has everything, but the source has not given the guest up for 3 s",
    )
}

/// What a destination of this project says once a second while its host writes.
pub(crate) const WRITING: ReturnMessage = ReturnMessage::Pong(u32::from_be_bytes(*b"mfWd"));

#[test]
fn a_destination_that_works_and_falls_silent() -> Result<()> {
    let result = relay(Duration::from_secs(2), |bench| {
        bench.sent(true)?;
        bench.destination.say(WRITING)?;
        bench.source.wait_for(WRITING)
    })?;
    failed(
        result,
        Side::RelayOut,
        "the destination was writing to disk when it last spoke, and has said nothing for 2 s",
    )
}

#[test]
fn a_destination_that_works_for_ever() -> Result<()> {
    let setting = Setting {
        limit: Duration::from_secs(2),
        work: Duration::from_secs(1),
        ..Setting::new()?
    };
    let result = relay_with(setting, |bench| {
        bench.sent(true)?;
        // Until the relay has given it up.
        while bench.destination.say(WRITING).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })?;
    failed(
        result,
        Side::RelayOut,
        "the destination has been writing to disk for more than 1 s, and has said nothing else for 2 s",
    )
}
