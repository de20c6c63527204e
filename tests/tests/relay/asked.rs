// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay answers while it passes a migration on, and what it can be told.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use multifd_core::Fault;
use multifd_migration::relay::{Phase, RelayInfo, WaitsFor};
use multifd_migration::source::GuestAfter;
use multifd_migration::stream::ReturnMessage;
use multifd_migration::{RelayHandle, Work};
use multifd_tests::by_hand::main_stream;
use multifd_tests::network::Watchdog;

use crate::bench::{OFFER, relay};
use crate::ending::WRITING;
use crate::rig::{FOREVER, Running, Setup};

const PAGE: u64 = 4096;
/// More than a relay holds.
const PAGES: u64 = 4000;

/// A migration that takes years, for the bandwidth that the relay keeps to.
fn held() -> Setup {
    let mut setup = Setup::new(&[("none", 3), ("zstd", 2)]);
    setup.blocks = vec![("ram", usize::try_from(PAGES).unwrap())];
    setup.relay.forwarder.send_bandwidth = NonZeroU64::new(1);
    setup
}

/// Asks until the answer is as wanted.
#[track_caller]
fn wait(handle: &RelayHandle, is_wanted: impl Fn(&RelayInfo) -> bool) -> RelayInfo {
    let start = Instant::now();
    loop {
        let info = handle.info();
        if is_wanted(&info) {
            return info;
        }
        assert!(start.elapsed() < FOREVER, "{info:#?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn is_held(info: &RelayInfo) -> bool {
    info.phase == Phase::Memory && info.waits_for == Some(WaitsFor::Bandwidth)
}

#[test]
fn under_way_and_at_the_end() {
    let _watchdog = Watchdog::start();
    let mut seen = None;
    let outcome = held().run_with(|running: Running| {
        let relay = running.handles[0].clone();
        let info = wait(&relay, |info| {
            is_held(info) && info.out.channels.iter().all(|channel| channel.packets > 0)
        });
        relay.set_max_bandwidth(None);
        seen = Some((info, relay));
    });
    let (info, relay) = seen.unwrap();
    assert_eq!((info.r#in.channels.len(), info.out.channels.len()), (3, 2));
    assert_eq!(info.ram.total, Some(PAGES * PAGE));
    let left = info.ram.remaining.unwrap();
    assert!(left < PAGES * PAGE, "{info:#?}");
    assert_eq!(info.ram.guest_bytes + left, PAGES * PAGE);
    assert_eq!((info.max_bandwidth, info.error_desc), (1, None));
    assert_eq!(info.ram.barriers, 1);
    outcome.assert_migrated();
    let report = outcome.relays[0].as_ref().unwrap();
    let info = relay.info();
    assert_eq!((info.phase, info.waits_for), (Phase::Completed, None));
    assert_eq!(info.max_bandwidth, 0);
    assert_eq!(info.ram.remaining, None);
    assert_eq!(info.ram.guest_bytes, report.guest_bytes());
    assert_eq!(info.r#in.transferred, report.received());
    assert_eq!(info.out.transferred, report.sent());
    assert_eq!(info.machine.as_deref(), Some(&*report.machine));
    assert!(info.ram.barriers > 1 && info.out.mbps > 0.0, "{info:#?}");
}

#[test]
fn cancelled_for_a_reason() {
    let _watchdog = Watchdog::start();
    let mut handle = None;
    let outcome = held().run_with(|running: Running| {
        let relay = running.handles[0].clone();
        wait(&relay, is_held);
        let answers = ["the link is needed", "the same once more"].map(|why| relay.cancel(why));
        handle = Some((relay, answers));
    });
    outcome.assert_failed();
    assert_eq!(outcome.source.unwrap_err().guest, GuestAfter::Here);
    let error = outcome.relays[0].as_ref().unwrap_err();
    assert_eq!(error.fault(), Fault::Aborted);
    let wanted = "the migration was cancelled: the link is needed";
    assert_eq!(error.to_string(), wanted);
    let (handle, answers) = handle.unwrap();
    assert_eq!(answers, [true, false]);
    let info = handle.info();
    assert_eq!(info.phase, Phase::Cancelled);
    assert_eq!(info.error_desc.as_deref(), Some(wanted));
}

/// Before there is anybody to be told.
#[test]
fn cancelled_before_it_has_begun() {
    let relay = crate::broken::met().0;
    let handle = relay.handle();
    assert_eq!(handle.phase(), Phase::Setup);
    assert_eq!(handle.info().waits_for, Some(WaitsFor::Source));
    assert!(handle.cancel("not today"));
    let error = relay.run(&mut crate::rig::Onward([].into())).unwrap_err();
    assert_eq!(error.error.fault(), Fault::Aborted);
    assert_eq!(handle.phase(), Phase::Cancelled);
}

/// When all memory has been passed on, the destination may get the rest whatever is done here.
#[test]
fn too_late_to_cancel() -> Result<()> {
    let report = relay(FOREVER, |bench| {
        let handle = bench.handle.clone();
        bench.source.begin(&main_stream::ping(OFFER))?;
        wait(&handle, |info| info.phase == Phase::Memory);
        bench.source.complete()?;
        bench.destination.take_until(&main_stream::tail())?;
        let info = wait(&handle, |info| info.waits_for == Some(WaitsFor::ReturnPath));
        assert_eq!(info.phase, Phase::HandingOver);
        assert!(!handle.cancel("now"));
        let pong = ReturnMessage::Pong(OFFER);
        bench.destination.say(pong)?;
        bench.source.wait_for(pong)?;
        bench.destination.say(WRITING)?;
        wait(&handle, |info| {
            info.destination == Some(Work::WritingToDisk)
        });
        bench.confirmed()?;
        wait(&handle, |info| info.phase == Phase::Completed);
        assert!(!handle.cancel("after the end"));
        Ok(())
    })??;
    assert!(report.confirmed);
    Ok(())
}
