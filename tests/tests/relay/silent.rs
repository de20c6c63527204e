// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parties that say nothing, or are set up differently.

use std::thread;
use std::time::Duration;

use multifd_core::Side;
use multifd_tests::network::{Link, Watchdog};

use crate::rig::{FOREVER, Running, Setup};

/// As a QEMU that waits for more channels: it reads nothing, and answers nothing.
#[test]
fn a_destination_that_waits_for_more_channels() {
    let _watchdog = Watchdog::start();
    for small in [true, false] {
        let mut setup = Setup::new(&[("none", 2), ("none", 2)]);
        setup.relay.forwarder.limits.destination = Duration::from_millis(300);
        setup.destination.receiver.limits.main = FOREVER;
        setup.destination.receiver.limits.init = FOREVER;
        setup.destination.receiver.limits.sync = FOREVER;
        if small {
            // All that there is fits into the connections, and only the PING tells.
            setup.blocks = vec![("ram", 4)];
        }
        setup.links = Box::new(|hop, _| match hop {
            0 => (Link::default(), Link::default()),
            _ => (Link::default().hold_after(0), Link::default()),
        });
        let outcome = setup.run_with(until_the_relay_gives_up);
        outcome.assert_failed();
        let error = outcome.relays[0].as_ref().unwrap_err();
        assert_eq!(error.place().side, Some(Side::RelayOut));
        let text = error.to_string();
        assert!(text.contains("for 0.3 s"), "{text}");
        assert!(
            text.contains("more connections than the 2 channels"),
            "{text}"
        );
        let text = outcome.source.as_ref().unwrap_err().error.to_string();
        assert!(text.contains("SHUT 1"), "{text}");
    }
}

/// What is held back hides the end of the connection, too.
fn until_the_relay_gives_up(running: Running) {
    while running.relays[0].error().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    running.destination.abort();
}

/// Neither the source nor a relay takes it for one that has stopped.
#[test]
fn a_destination_may_make_its_memory_slowly() {
    let _watchdog = Watchdog::start();
    // What a busy machine needs to run a thread again is far below a second.
    let second = Duration::from_secs(1);
    let setup = |takes: Duration, limit: Duration, memory_limit: Duration| {
        let mut setup = Setup::new(&[("none", 2), ("none", 2), ("none", 2)]);
        // More than fits into relays and connections.
        setup.blocks = vec![("ram", 8192)];
        setup.memory_takes = takes;
        let (source, relay) = (&mut setup.source.limits, &mut setup.relay.forwarder.limits);
        (source.destination, relay.destination) = (limit, limit);
        (source.memory, relay.memory) = (FOREVER, memory_limit);
        setup
    };
    let outcome = setup(3 * second, second, FOREVER).run();
    outcome.assert_migrated();
    // But not for ever.
    let outcome = setup(3 * second, second, 2 * second).run();
    outcome.assert_failed();
    let error = outcome.relays.iter().find_map(|relay| {
        let error = relay.as_ref().unwrap_err().to_string();
        error
            .contains("the destination has not answered a PING for 2 s")
            .then_some(error)
    });
    assert!(error.is_some(), "{:?}", outcome.relays);
}

/// Both ends wait for it, and so do the relays between them.
#[test]
fn a_destination_may_write_to_a_disk_slowly() {
    let _watchdog = Watchdog::start();
    let second = Duration::from_secs(1);
    let mut setup = Setup::new(&[("none", 2), ("none", 2), ("none", 2)]);
    setup.disk_takes = 5 * second;
    let (source, relay) = (&mut setup.source.limits, &mut setup.relay.forwarder.limits);
    (source.confirm, relay.confirm, relay.devices) = (2 * second, 2 * second, 2 * second);
    // It speaks more often than that.
    setup.destination.receiver.limits.confirm = second;
    setup.run().assert_migrated();
}

/// Without a return path only what is not taken tells.
#[test]
fn a_destination_that_takes_nothing() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 2), ("none", 2)]);
    setup.return_path = false;
    setup.relay.forwarder.limits.destination = Duration::from_millis(300);
    setup.destination.receiver.limits.main = FOREVER;
    setup.destination.receiver.limits.init = FOREVER;
    setup.links = Box::new(|hop, _| match hop {
        0 => (Link::default(), Link::default()),
        _ => (Link::default().hold_after(0), Link::default()),
    });
    let outcome = setup.run_with(until_the_relay_gives_up);
    let text = outcome.relay_error();
    assert!(
        text.contains("the destination has read nothing for 0.3 s"),
        "{text}"
    );
}

#[test]
fn a_source_with_fewer_channels() {
    let _watchdog = Watchdog::start();
    let mut setup = Setup::new(&[("none", 3), ("none", 2)]);
    setup.relay.forwarder.limits.sync = Duration::from_millis(300);
    setup.links = Box::new(|hop, connection| match (hop, connection) {
        // The third channel's bytes never come.
        (0, 3) => (Link::default().hold_after(0), Link::default()),
        _ => (Link::default(), Link::default()),
    });
    let outcome = setup.run();
    outcome.assert_failed();
    let error = outcome.relays[0].as_ref().unwrap_err();
    assert_eq!(error.place().side, Some(Side::RelayIn));
    let text = error.to_string();
    assert!(
        text.contains("no SYNC from channel 2 within 0.3 s"),
        "{text}"
    );
    assert!(
        text.contains("only 2 of 3 channels are connected"),
        "{text}"
    );
}

#[test]
fn another_method_on_either_side() {
    let _watchdog = Watchdog::start();
    for (hop, side, words) in [
        (0, Side::RelayIn, "packet compressed with zstd, wanted none"),
        (1, Side::RelayOut, "could not take the guest"),
    ] {
        let mut setup = Setup::new(&[("none", 2), ("none", 2)]);
        setup.other_method = Some((hop, "zstd"));
        let outcome = setup.run();
        outcome.assert_failed();
        let error = outcome.relays[0].as_ref().unwrap_err();
        assert_eq!(error.place().side, Some(side), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let text = outcome.source.as_ref().unwrap_err().error.to_string();
        assert!(text.contains("SHUT 1"), "{text}");
    }
}
