// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A cancel while the last of the guest is on its way: it runs on at the source, and nowhere else.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::Running;
use multifd_tests::interop::Age;
use multifd_tests::interop::steps::{LIMIT, Link};
use multifd_tests::peer::{self, Qemu};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::json;

use crate::rig::{Rig, migrate_fast};

/// The second relay stands still, as where a network does, from the guest's pause on, and goes on when the source has long
/// cancelled and the first relay has ended. The destination would run the guest without being asked.
#[test]
fn a_cancel_when_all_has_been_sent() -> Result<()> {
    let (Some(rig), Some(binary)) = (Rig::require()?, peer::require()?) else {
        return Ok(());
    };
    // There is no more to run than the firmware, so next to nothing is sent with the devices.
    let machine = || binary.machine().machine_type("pc").memory(16 << 20);
    let [side_in, side_out] = ["--in", "--out"].map(|side| [side, "multifd-compression=zstd"]);
    let (second, uri) = rig.relay("tcp:127.0.0.1:0", &rig.uri("to"), &side_in)?;
    let port = port(&uri)?;
    let (first, uri) = rig.relay(&rig.uri("relay"), &uri, &side_out)?;
    let mut destination = machine().incoming_defer().running().start()?;
    Link::PLAIN.prepare(&mut destination, Age::Current)?;
    destination.migrate_incoming(&rig.uri("to"))?;
    let mut source = machine().running().start()?;
    Link::PLAIN.prepare(&mut source, Age::Current)?;
    source.set_capabilities(&[("pause-before-switchover", true)])?;
    migrate_fast(&mut source, &uri)?;
    source.wait_status(&["pre-switchover"], LIMIT)?;
    stop(&second)?;
    source.execute("migrate-continue", json!({"state": "pre-switchover"}))?;
    source.wait_status(&["device"], LIMIT)?;
    wait_sent(port)?;

    source.execute("migrate_cancel", json!({}))?;
    // Which of the two depends on who notices first that the connection is closed.
    source.wait_status(&["cancelled", "failed"], LIMIT)?;
    wait_running(&mut source)?;
    let words =
        "relay, source side: the source ended or cancelled before the destination confirmed";
    first.finish()?.failed(&[4], &[words])?;
    second.signal(Signal::CONT)?;
    second.finish()?.failed(&[4], &["relay, source side"])?;
    let ended = destination.wait_exit(LIMIT);
    ensure!(
        !ended
            .context("the destination has the guest, too")?
            .success()
    );
    wait_running(&mut source)
}

fn wait_running(source: &mut Qemu) -> Result<()> {
    let start = Instant::now();
    while source.run_state()? != "running" {
        ensure!(start.elapsed() < LIMIT, "the guest does not run");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Stops a process, and waits until it has stopped.
fn stop(running: &Running) -> Result<()> {
    running.signal(Signal::STOP)?;
    let process = Pid::from_raw(i32::try_from(running.id())?).context("a process")?;
    let (_, status) = waitpid(Some(process), WaitOptions::UNTRACED)?.context("it has changed")?;
    ensure!(status.stopped(), "{status:?}");
    Ok(())
}

/// Waits until nothing more comes to the connections of this port, of which nobody reads. To wait too short a time would
/// only mean to test less.
fn wait_sent(port: u16) -> Result<()> {
    let (start, mut since, mut last) = (Instant::now(), Instant::now(), 0);
    while last == 0 || since.elapsed() < Duration::from_secs(1) {
        let waiting = waiting(port)?;
        if waiting != last {
            (since, last) = (Instant::now(), waiting);
        }
        ensure!(start.elapsed() < LIMIT, "nothing comes to port {port}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// How many bytes have come to a local port and have not been read.
fn waiting(port: u16) -> Result<u64> {
    const ESTABLISHED: &str = "01";
    let mut sum = 0;
    for line in fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next(), fields.next(), fields.next());
        let queues = fields.next().and_then(|queues| queues.split_once(':'));
        let is_here = local.is_some_and(|local| local.ends_with(&format!(":{port:04X}")));
        if let (true, Some(ESTABLISHED), Some((_, received))) = (is_here, state, queues) {
            sum += u64::from_str_radix(received, 16)?;
        }
    }
    Ok(sum)
}

fn port(uri: &str) -> Result<u16> {
    let (_, port) = uri.rsplit_once(':').context("an address of TCP")?;
    Ok(port.parse()?)
}
