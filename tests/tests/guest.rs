// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest that counts does what its checker believes, and two QEMUs hand it over whole.

use std::time::Duration;

use anyhow::{Result, ensure};
use multifd_tests::{guest, peer};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const MEMORY: u64 = 16 << 20;

/// Every machine that runs code, as the tests boot it.
const MACHINES: [&str; 4] = ["pc", "q35", "isapc", "microvm"];

#[test]
fn it_counts_on_every_machine() -> Result<()> {
    let (Some(binary), Some(counter)) = (peer::require()?, guest::require(MEMORY)?) else {
        return Ok(());
    };
    for machine in MACHINES {
        let machine = binary
            .machine()
            .machine_type(machine)
            .boot(&counter)
            .running();
        let mut qemu = machine.start()?;
        let mut last = 0;
        for passes in [2, 5] {
            qemu.wait_passes(passes)?;
            qemu.pause()?;
            let printed = u32::try_from(qemu.passes()?.count)?;
            let snapshot = guest::check(&qemu.physical_memory(counter.range())?)?;
            // The letter of a pass comes a moment after its last page.
            ensure!(
                [printed, printed + 1].contains(&snapshot.pass) && snapshot.pass > last,
                "{printed} passes printed, {snapshot:?}"
            );
            last = snapshot.pass;
            qemu.cont()?;
        }
    }
    Ok(())
}

#[test]
fn two_qemus_hand_it_over_whole() -> Result<()> {
    let (Some(binary), Some(counter)) = (peer::require()?, guest::require(MEMORY)?) else {
        return Ok(());
    };
    let machine = || {
        binary
            .machine()
            .machine_type("q35")
            .boot(&counter)
            .running()
    };
    let (mut source, mut destination) = (machine().start()?, machine().incoming_defer().start()?);
    for qemu in [&mut source, &mut destination] {
        qemu.set_capabilities(&[("multifd", true)])?;
    }
    let uri = format!("unix:{}", destination.folder().join("socket").display());
    destination.migrate_incoming(&uri)?;
    source.set_parameters(json!({"downtime-limit": 30_000}))?;
    source.wait_passes(2)?;
    source.migrate(&uri)?;
    source.wait_status(&["completed"], LIMIT)?;

    let before = source.passes()?;
    let after = destination.wait_passes(3)?;
    before.go_on_with(&after)?;
    destination.pause()?;
    let done = u32::try_from(before.count + destination.passes()?.count)?;
    let snapshot = guest::check(&destination.physical_memory(counter.range())?)?;
    ensure!(
        [done, done + 1].contains(&snapshot.pass),
        "{done} passes printed, {snapshot:?}"
    );
    Ok(())
}
