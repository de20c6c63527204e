// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Somebody gives up, or is killed.

use anyhow::{Result, ensure};
use multifd_tests::interop::steps::{LIMIT, Link};
use multifd_tests::peer::Qemu;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{Rig, assert_runs_on, migrate_fast, migrate_for_ever};

/// Runs `disturb` while pages flow through a relay that keeps listening; then migrates again.
fn and_then_again(
    what_relay_says: &str,
    disturb: impl FnOnce(&mut Qemu, Qemu) -> Result<()>,
    status: &str,
) -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let args = [
        "--keep-listening",
        "--out",
        "multifd-compression=zstd",
        "--out",
        "multifd-channels=4",
    ];
    let out = Link {
        method: "zstd",
        channels: 4,
        ..Link::PLAIN
    };
    let (mut relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &args)?;
    let mut source = rig.source(Link::PLAIN, None)?;
    let destination = rig.destination(out, "to", None)?;
    migrate_for_ever(&mut source, &uri)?;
    disturb(&mut source, destination)?;
    let line = relay.wait_line(": relay, ")?;
    ensure!(line.contains("multifd: migration 1, guest "), "{line}");
    ensure!(line.contains(what_relay_says), "{line}");
    assert_runs_on(&mut source, status)?;

    let mut destination = rig.destination(out, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    rig.assert_moved(&mut source, &mut destination)?;
    ensure!(relay.is_running()?);
    relay.signal(Signal::TERM)?;
    let ended = relay.finish()?;
    ensure!(ended.code == Some(0), "{ended:#?}");
    let results: Vec<Value> = ended
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let text = |result: &Value, name: &str| result.get(name).cloned().unwrap_or_default();
    let [failed, completed, ..] = &results[..] else {
        anyhow::bail!("{ended:#?}");
    };
    ensure!(text(failed, "status") == "failed" && text(failed, "migration") == 1);
    ensure!(text(completed, "status") == "completed" && text(completed, "migration") == 2);
    Ok(())
}

#[test]
fn a_cancel_reaches_the_destination() -> Result<()> {
    let cancel = |source: &mut Qemu, mut destination: Qemu| {
        source.execute("migrate_cancel", json!({}))?;
        ensure!(!destination.wait_exit(LIMIT)?.success());
        Ok(())
    };
    and_then_again("relay, source side", cancel, "cancelled")
}

#[test]
fn a_destination_is_killed() -> Result<()> {
    let kill = |_: &mut Qemu, destination: Qemu| {
        drop(destination);
        Ok(())
    };
    and_then_again("relay, destination side", kill, "failed")
}

#[test]
fn a_source_is_killed() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let args = ["--keep-listening"];
    let (mut relay, uri) = rig.relay("tcp:127.0.0.1:0", &rig.uri("to"), &args)?;
    let mut source = rig.source(Link::PLAIN, None)?;
    let mut destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_for_ever(&mut source, &uri)?;
    drop(source);
    let line = relay.wait_line(": relay, ")?;
    ensure!(line.contains("multifd: migration 1, guest "), "{line}");
    ensure!(line.contains("relay, source side"), "{line}");
    ensure!(!destination.wait_exit(LIMIT)?.success());

    let mut source = rig.source(Link::PLAIN, None)?;
    let mut destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    rig.assert_moved(&mut source, &mut destination)
}

/// Killed, and asked to end: to the source it is the same.
#[test]
fn a_relay_is_ended() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let mut source = rig.source(Link::PLAIN, None)?;
    for signal in [Signal::KILL, Signal::INT] {
        let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &[])?;
        let mut destination = rig.destination(Link::PLAIN, "to", None)?;
        migrate_for_ever(&mut source, &uri)?;
        relay.signal(signal)?;
        let ended = relay.finish()?;
        assert_runs_on(&mut source, "failed")?;
        ensure!(!destination.wait_exit(LIMIT)?.success());
        if signal == Signal::INT {
            ensure!(ended.code == Some(130), "{ended:#?}");
            ensure!(ended.stdout.contains("\"cancelled\""), "{ended:#?}");
        }
    }
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("to"), &[])?;
    let mut destination = rig.destination(Link::PLAIN, "to", None)?;
    migrate_fast(&mut source, &uri)?;
    rig.assert_moved(&mut source, &mut destination)?;
    relay.finish()?.json(0)?;
    Ok(())
}
