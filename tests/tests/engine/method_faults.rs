// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Methods that fail, on either side, in any packet.

use std::sync::Arc;
use std::time::Duration;

use multifd_core::{Error, Fault};
use multifd_tests::conformance::PageSource;
use multifd_tests::network::Watchdog;

use crate::guest;
use crate::rig::{Rig, Setup};
use crate::scripted::{Failure, Scripted};

/// Migrates until it fails, and answers the errors of source and destination.
fn fail(setup: Setup) -> (Error, Error) {
    let mut rig = setup.start().unwrap();
    guest::fill(
        &rig.source,
        &guest::pages(&rig.source),
        &mut PageSource::new(2),
    );
    rig.begin().unwrap();
    let handles = (rig.sender.abort_handle(), rig.receiver.abort_handle());
    while migrate(&mut rig).is_ok() {}
    // The failing side closes its connections, which ends the other one.
    rig.receiver.sync().unwrap_err();
    rig.receiver.settle(None, Duration::ZERO);
    while rig.queue_all().and_then(|()| rig.sender.sync()).is_ok() {}
    let (sender, receiver) = (rig.sender.finish(), rig.receiver.finish());
    let (sent, received) = (handles.0.error(), handles.1.error());
    for (result, first) in [(sender, &sent), (receiver, &received)] {
        let text = first.as_ref().map(Error::to_string);
        assert_eq!(result.err().map(|error| error.to_string()), text);
    }
    (sent.unwrap(), received.unwrap())
}

fn migrate(rig: &mut Rig) -> Result<(), Error> {
    rig.queue_all()?;
    rig.sync()
}

fn setup(channels: u8) -> (Setup, Scripted) {
    let mut setup = Setup::new(channels);
    setup.sender.zero_pages = false;
    (setup, Scripted::default())
}

#[test]
fn a_sending_method_fails() {
    let _watchdog = Watchdog::start();
    for packet in [0, 1, 7] {
        let (mut setup, mut method) = setup(1);
        method.packet = Some((packet, Failure::Device));
        let alive = method.alive.clone();
        setup.send_method = Arc::new(method);
        let (source, destination) = fail(setup);
        assert_eq!(source.fault(), Fault::Device);
        // Three packets with pages, then one SYNC, in every round, after the first SYNC.
        let index = 1 + packet + packet / 3;
        assert_eq!(
            source.to_string(),
            format!(
                "source, channel 0, packet {index}, block \"ram\": scripted: the device is gone"
            )
        );
        assert_eq!(destination.fault(), Fault::Connection);
        assert_eq!(
            destination.to_string(),
            "destination, channel 0: the source closed the connection before its next SYNC"
        );
        assert_eq!(alive.count(), 0);
    }
}

#[test]
fn a_receiving_method_fails() {
    let _watchdog = Watchdog::start();
    for packet in [0, 1, 7] {
        for (failure, fault, text) in [
            (
                Failure::Device,
                Fault::Device,
                "scripted: the device is gone",
            ),
            (
                Failure::Corrupt,
                Fault::Peer,
                "scripted: damaged (payload byte 7)",
            ),
            (
                Failure::ReadsPastEnd,
                Fault::Peer,
                "scripted: payload of 4096 bytes ends 1 bytes too early",
            ),
            (
                Failure::LeavesByte,
                Fault::Peer,
                "1 of 4096 payload bytes are left after the last page",
            ),
        ] {
            let (mut setup, mut method) = setup(1);
            setup.blocks = vec![("ram", 1)];
            method.packet = Some((packet, failure));
            let alive = method.alive.clone();
            setup.recv_method = Arc::new(method);
            let (source, destination) = fail(setup);
            assert_eq!(destination.fault(), fault);
            // One packet with pages and one SYNC in every round, after the first SYNC.
            let index = 1 + 2 * packet;
            assert_eq!(
                destination.to_string(),
                format!("destination, channel 0, packet {index}, block \"ram\": {text}")
            );
            assert_eq!(source.fault(), Fault::Connection);
            assert_eq!(alive.count(), 0);
        }
    }
}

#[test]
fn a_method_that_panics_ends_the_migration() {
    let _watchdog = Watchdog::start();
    // Again and again: whoever finds the thread gone must find the reason, too.
    for round in 0..200 {
        let (mut setup, mut method) = setup(1 + round % 3);
        method.packet = Some((usize::from(round % 4), Failure::Panic));
        let sends = round % 2 == 0;
        if sends {
            setup.send_method = Arc::new(method);
        } else {
            setup.recv_method = Arc::new(method);
        }
        let (source, destination) = fail(setup);
        let error = if sends { source } else { destination };
        assert_eq!(error.fault(), Fault::Caller, "{error}");
        assert!(
            error.to_string().ends_with("a channel's thread panicked"),
            "{error}"
        );
    }
}
