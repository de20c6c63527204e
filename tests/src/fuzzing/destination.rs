// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A whole destination.

use std::sync::Arc;

use anyhow::Result;
use multifd_core::PageSize;
use multifd_migration::stream::{Event, Incoming, Reader, ReturnMessage};
use multifd_migration::{Destination, DestinationConfig, DestinationFailure, GuestHere, Report};

use super::Target;
use super::channel::{self, Joined};
use super::guest::Taker;
use super::limits::limits;
use super::machine::Machine;
use super::messages::{GO, all_messages};
use super::packets::pages_before;
use super::parts::{self, ON_MAIN, Parts};
use super::script::{Order, Script, Sent};
use super::text::check_error;
use crate::live::ACCEPT;

/// The main connection and up to four channels.
pub(super) const DESTINATION: Target = Target {
    name: "destination",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let taken = take(&Parts::of(bytes), &threads);
        threads.join();
        taken.unwrap_or(false)
    },
    seeds: || {
        Machine::all()?
            .iter()
            .map(|machine| machine.input([0; 2]))
            .collect()
    },
};

/// Answers whether the guest is here.
fn take(parts: &Parts<'_>, threads: &Arc<Joined>) -> Result<bool> {
    let (main, channels) = (parts.bytes(ON_MAIN), parts.channels());
    let mut config = DestinationConfig::default();
    let receiver = &mut config.receiver;
    receiver.channels = parts.setup.count();
    receiver.memory_is_zeroed = parts.setup.more[0] & 1 == 0;
    receiver.limits = limits(parts::is_complete(&main, &channels, receiver.uuid));
    receiver.threads = Arc::clone(threads) as _;
    receiver.device_state = Some(Arc::new(|state| {
        assert!(!state.data.is_empty());
        Ok(())
    }));
    config.wait = Some(receiver.limits.main);
    let destination = Destination::new(config, parts.setup.open_method()?);
    // What comes at once behind the devices would be a part of them.
    let connection = Script::ordered(&parts.script(ON_MAIN), Order::default());
    let said = connection.sent();
    destination.accept(Box::new(connection))?;
    for bytes in &channels {
        // The failure of one before it is told below.
        let _ = destination.accept(Box::new(Script::new(bytes)));
    }
    let mut host = Taker::default();
    let result = destination.run(&mut host);
    let received = destination.monitor().total();
    drop(destination);
    check(&result, &host, &said);
    let Ok(report) = result else {
        return Ok(false);
    };
    if !main.starts_with(&channel::MAIN) {
        // Another connection is the main one.
        return Ok(true);
    }
    let events = Events::of(&main);
    let pages: usize = channels
        .iter()
        .map(|bytes| pages_before(bytes, events.syncs))
        .sum();
    assert_eq!(
        pages as u64,
        received.normal_pages + received.zero_pages,
        "pages are missing, or were taken behind the last barrier"
    );
    assert_eq!(report.main_zero_pages, events.zero_pages);
    assert!(report.main_bytes <= main.len() as u64);
    Ok(true)
}

/// Where the guest is, and what the source was told, go together.
fn check(result: &Result<Report, DestinationFailure>, host: &Taker, said: &Sent) {
    let said = all_messages(&said.bytes());
    let shuts = said
        .iter()
        .filter(|message| matches!(message, ReturnMessage::Shut(_)));
    let shuts: Vec<_> = shuts.copied().collect();
    assert!(shuts.len() <= 1, "{said:?}");
    let is_confirmed = shuts == [ReturnMessage::Shut(0)];
    assert!(host.completed <= 1);
    match result {
        Ok(_) => {
            assert!(host.completed == 1, "without devices");
            assert!(is_confirmed || said.is_empty(), "{said:?}");
            let offered = said.contains(&ReturnMessage::Pong(ACCEPT));
            assert!(
                !offered || said.ends_with(&[ReturnMessage::Pong(GO)]),
                "{said:?}"
            );
        }
        Err(failure) => {
            check_error(failure);
            let is_whole = failure.guest == GuestHere::WholeButNotReleased;
            assert!(
                host.completed == 1 || !is_whole,
                "{failure:?} without devices"
            );
            assert!(is_whole || !is_confirmed, "{failure:?}, and {said:?}");
            // One before that answers a PING that means nothing yet.
            let runs = [ReturnMessage::Shut(0), ReturnMessage::Pong(GO)];
            assert!(!said.ends_with(&runs), "{failure:?}, and {said:?}");
        }
    }
}

/// What a main stream says of its memory.
#[derive(Default)]
struct Events {
    syncs: u64,
    zero_pages: u64,
}

impl Events {
    fn of(main: &[u8]) -> Self {
        let reader = Reader::new(Box::new(Script::new(main)), &[]);
        let mut stream = Incoming::new(reader, PageSize::X86);
        let mut events = Self::default();
        while let Ok(event) = stream.next_event() {
            events.syncs += u64::from(event == Event::Sync);
            events.zero_pages += u64::from(matches!(event, Event::ZeroPage { .. }));
        }
        events
    }
}
