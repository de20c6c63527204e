// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Several migrations at once through the same relays.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use multifd_tests::interop::steps::{self, Link};
use rustix::process::Signal;
use serde_json::Value;

use crate::rig::Rig;

const GUESTS: [&str; 3] = [
    "12345678-9abc-def0-1234-56789abcdef0",
    "12345678-9abc-def0-1234-56789abcdef1",
    "12345678-9abc-def0-1234-56789abcdef2",
];

#[test]
fn three_guests_go_through_two_relays_at_once() -> Result<()> {
    let Some(rig) = Rig::require()? else {
        return Ok(());
    };
    let zstd = ["multifd-compression=zstd", "multifd-channels=3"];
    let there = ["--keep-listening", "--in", zstd[0], "--in", zstd[1]];
    let here = ["--keep-listening", "--out", zstd[0], "--out", zstd[1]];
    let (second, uri) = rig.relay("tcp:127.0.0.1:0", &rig.uri("{uuid}"), &there)?;
    let (first, uri) = rig.relay(&rig.uri("relay"), &uri, &here)?;
    thread::scope(|scope| {
        let guests = GUESTS.map(|uuid| {
            let (rig, uri) = (&rig, &uri);
            scope.spawn(move || -> Result<()> {
                let mut destination = rig.destination(Link::PLAIN, uuid, Some(uuid))?;
                let mut source = rig.source(Link::PLAIN, Some(uuid))?;
                steps::migrate_live(&mut source, uri)?;
                rig.assert_moved(&mut source, &mut destination)
            })
        });
        guests.into_iter().try_for_each(|guest| {
            guest
                .join()
                .map_err(|_| anyhow!("a guest's thread panicked"))?
        })
    })?;
    for relay in [first, second] {
        relay.signal(Signal::TERM)?;
        let ended = relay.finish()?;
        let results = ended.stdout.lines().map(serde_json::from_str::<Value>);
        let completed = results.filter_map(Result::ok).filter(|result| {
            let status = result.get("status").and_then(Value::as_str);
            status == Some("completed")
        });
        ensure!(completed.count() == GUESTS.len(), "{ended:#?}");
    }
    Ok(())
}
