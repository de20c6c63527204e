// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration between two QEMUs.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use migration_params::Compression;
use multifd_tests::arena::Arena;
use multifd_tests::guest::Paced;
use multifd_tests::peer::{Binary, Qemu};
use serde_json::{Value, json};

use crate::args::Args;
use crate::run::Run;

pub(crate) fn run(
    binary: &Binary,
    guest: &Paced,
    arena: &Arena,
    method: Compression,
    args: &Args,
) -> Result<Run> {
    let machine = |path| {
        let machine = binary.machine().machine_type("pc").running();
        let machine = machine.boot_disk(guest.image());
        machine.memory_file(path, arena.bytes)
    };
    let mut source = machine(&arena.source).start()?;
    let mut destination = machine(&arena.destination).incoming_defer().start()?;
    for qemu in [&mut source, &mut destination] {
        qemu.set_capabilities(&[("multifd", true), ("return-path", true)])?;
        qemu.set_parameters(json!({
            "multifd-channels": args.channels,
            "multifd-compression": method.name(),
            "max-bandwidth": 0,
            "downtime-limit": args.downtime_limit,
        }))?;
    }
    // It prints a letter before it begins to write.
    source.wait_passes(1)?;
    thread::sleep(WARM_UP);
    let uri = "tcp:127.0.0.1:0";
    destination.migrate_incoming(uri)?;
    source.migrate(&format!("tcp:127.0.0.1:{}", destination.port()?))?;
    let info = source.wait_status(&["completed"], LIMIT)?;
    let number = |path| {
        info.pointer(path)
            .and_then(Value::as_f64)
            .context("query-migrate")
    };
    Ok(Run {
        who: format!("QEMU, {}", accelerator(&mut source)?),
        down: number("/downtime")?,
        total: number("/total-time")?,
        rounds: number("/ram/dirty-sync-count")?,
    })
}

fn accelerator(qemu: &mut Qemu) -> Result<&'static str> {
    let kvm = qemu.execute("query-kvm", json!({}))?;
    let enabled = kvm.get("enabled") == Some(&Value::Bool(true));
    Ok(if enabled { "kvm" } else { "tcg" })
}

/// Until the guest has written to most of its pages once, as it would have long ago.
const WARM_UP: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(300);
