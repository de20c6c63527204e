// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests whose devices send state while memory comes.

use anyhow::{Result, ensure};
use multifd_tests::interop::bitmaps::{self, MARKED};
use multifd_tests::interop::steps::LIMIT;
use multifd_tests::peer::{self, Qemu};
use serde_json::json;

use crate::rig::Rig;

/// Migrates a q35 machine that stands still through a relay: with these arguments, capabilities beside those of multifd,
/// and what is to be done at the source before.
fn migrate(
    args: &[&str],
    capabilities: &[&str],
    prepare: impl FnOnce(&mut Qemu) -> Result<()>,
) -> Result<Option<(Qemu, Qemu)>> {
    let (Some(rig), Some(binary)) = (Rig::require()?, peer::require()?) else {
        return Ok(None);
    };
    let machine = || {
        let machine = binary.machine().machine_type("q35").memory(64 << 20);
        machine.args(args)
    };
    let on: Vec<_> = ["multifd", "return-path"]
        .iter()
        .chain(capabilities)
        .map(|name| (*name, true))
        .collect();
    let mut destination = machine().incoming_defer().start()?;
    destination.set_capabilities(&on)?;
    destination.migrate_incoming(&rig.uri("destination"))?;
    let mut source = machine().start()?;
    source.set_capabilities(&on)?;
    prepare(&mut source)?;
    let out = ["--out", "multifd-channels=2"];
    let (relay, uri) = rig.relay(&rig.uri("relay"), &rig.uri("destination"), &out)?;
    source.migrate(&uri)?;
    source.wait_status(&["completed"], LIMIT)?;
    destination.wait_status(&["completed"], LIMIT)?;
    let ended = relay.finish()?;
    ended.json(0)?;
    // Their layouts are known.
    ensure!(!ended.stderr.contains("warn"), "{ended:#?}");
    Ok(Some((source, destination)))
}

#[test]
fn memory_that_is_plugged() -> Result<()> {
    let args = [
        "-m",
        "maxmem=1G",
        "-object",
        "memory-backend-ram,id=plugged,size=256M",
        "-device",
        "virtio-mem-pci,id=virtio-mem,memdev=plugged,requested-size=128M",
    ];
    let Some((_, mut destination)) = migrate(&args, &[], |_| Ok(()))? else {
        return Ok(());
    };
    let devices = destination.execute("query-memory-devices", json!({}))?;
    let requested = devices.pointer("/0/data/requested-size");
    ensure!(requested == Some(&json!(128 << 20)), "{devices}");
    Ok(())
}

#[test]
fn bitmaps_of_a_disk() -> Result<()> {
    let args = [
        "-blockdev",
        "null-co,node-name=disk,size=67108864,read-zeroes=on",
    ];
    let migrated = migrate(&args, &["dirty-bitmaps"], |source| {
        for name in ["one", "another"] {
            bitmaps::mark(source, name, false)?;
        }
        Ok(())
    })?;
    let Some((_, mut destination)) = migrated else {
        return Ok(());
    };
    let bitmap = |name: &str| (name.to_owned(), MARKED, false);
    assert_eq!(
        bitmaps::of_disk(&mut destination)?,
        [bitmap("another"), bitmap("one")]
    );
    Ok(())
}

#[test]
fn bitmaps_without_a_disk() -> Result<()> {
    migrate(&[], &["dirty-bitmaps"], |_| Ok(())).map(drop)
}
