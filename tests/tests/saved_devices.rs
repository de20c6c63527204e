// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests whose devices send state before the end of memory: `recv --save` keeps them, `send --load` starts them again.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::guest::Counter;
use multifd_tests::interop::bitmaps::{self, MARKED};
use multifd_tests::interop::steps::{self, LIMIT, Link};
use multifd_tests::interop::{self, Age, Lab};
use multifd_tests::peer::{Builder, Passes, Qemu};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a test has.
struct Rig {
    lab: Lab,
    counter: Counter,
    folder: TempDir,
    args: Vec<&'static str>,
    capabilities: Vec<(&'static str, bool)>,
    /// Each QEMU has an image that can keep bitmaps, as the node `disk`.
    has_image: bool,
}

impl Rig {
    /// For a guest with these arguments, and these capabilities beside those of multifd. `None` where there is no QEMU,
    /// which has been said.
    fn require(args: &[&'static str], capabilities: &[&'static str]) -> Result<Option<Self>> {
        let Some(lab) = interop::require()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            lab,
            counter: Counter::assemble(8 << 20)?,
            folder: TempDir::with_prefix("multifd-saved-")?,
            args: args.to_vec(),
            capabilities: capabilities.iter().map(|name| (*name, true)).collect(),
            has_image: false,
        }))
    }

    fn machine(&self) -> Builder {
        let machine = self.lab.qemu(Age::Current).machine().machine_type("q35");
        machine.boot(&self.counter).running().args(&self.args)
    }

    /// A guest that counts.
    fn source(&self) -> Result<Qemu> {
        let mut source = self.machine().start()?;
        source.wait_passes(2)?;
        self.prepare(&mut source)?;
        Ok(source)
    }

    fn prepare(&self, qemu: &mut Qemu) -> Result<()> {
        if self.has_image {
            open_image(qemu, &self.folder.path().join("disk.qcow2"))?;
        }
        Link::PLAIN.prepare(qemu, Age::Current)?;
        qemu.set_capabilities(&self.capabilities)
    }

    /// Keeps a guest that counts on meanwhile; answers what `inspect` says of its folder.
    fn keep(&self, source: &mut Qemu) -> Result<Value> {
        let saved = self.saved();
        let from = steps::socket(source.folder(), "migration");
        let args = ["recv", "--from", &from, "--save", &saved];
        let args = args.map(String::from).into_iter().chain(Link::PLAIN.args());
        let mut receiving = self.lab.multifd().start(args)?;
        let uri = receiving.wait_address()?;
        // A source with bitmaps never looks for what the guest has written if it may have no down time at all.
        source.set_parameters(json!({"downtime-limit": 30_000}))?;
        source.migrate(&uri)?;
        let ended = receiving.finish()?;
        ended.json(0)?;
        // Their layouts are known.
        ensure!(!ended.stderr.contains("warn"), "{ended:#?}");
        source.wait_status(&["completed"], LIMIT)?;
        let inspecting = self.lab.multifd().start(["inspect", "--json", &saved])?;
        inspecting.finish()?.json(0)
    }

    /// Starts the guest that was kept; answers the QEMU, in which it counts on.
    fn start_again(&self, before: &Passes) -> Result<Qemu> {
        let mut destination = self.machine().incoming_defer().start()?;
        self.prepare(&mut destination)?;
        let uri = steps::socket(destination.folder(), "migration");
        destination.migrate_incoming(&uri)?;
        let saved = self.saved();
        let args = ["send", "--to", &uri, "--load", &saved];
        let args = args.map(String::from).into_iter().chain(Link::PLAIN.args());
        let sent = self.lab.multifd().start(args)?.finish()?;
        sent.json(0).with_context(|| destination.stderr())?;
        destination.wait_status(&["completed"], LIMIT)?;
        steps::check_guest_goes_on(before, &mut destination, &self.counter)?;
        Ok(destination)
    }

    fn saved(&self) -> String {
        self.folder.path().join("guest").display().to_string()
    }
}

/// Opens an image as the node `disk`: a copy of the one at `original`, which the first QEMU makes. One that waits for
/// a guest makes none.
fn open_image(qemu: &mut Qemu, original: &Path) -> Result<()> {
    let image = qemu.folder().join("disk.qcow2");
    let is_new = !original.exists();
    match is_new {
        true => std::fs::write(&image, "")?,
        false => drop(std::fs::copy(original, &image)?),
    }
    let file = json!({"driver": "file", "node-name": "file", "filename": image});
    qemu.execute("blockdev-add", file)?;
    if is_new {
        format(qemu)?;
        std::fs::copy(&image, original)?;
    }
    let disk = json!({"driver": "qcow2", "node-name": "disk", "file": "file"});
    qemu.execute("blockdev-add", disk)?;
    Ok(())
}

/// Makes an image of the node `file`.
fn format(qemu: &mut Qemu) -> Result<()> {
    let options = json!({"driver": "qcow2", "file": "file", "size": 64 << 20});
    let job = json!({"job-id": "create", "options": options});
    qemu.execute("blockdev-create", job)?;
    let start = Instant::now();
    loop {
        let jobs = qemu.execute("query-jobs", json!({}))?;
        if jobs.pointer("/0/status") == Some(&json!("concluded")) {
            ensure!(jobs.pointer("/0/error").is_none(), "{jobs}");
            break;
        }
        ensure!(start.elapsed() < LIMIT, "{jobs}");
        thread::sleep(Duration::from_millis(10));
    }
    qemu.execute("job-dismiss", json!({"id": "create"}))?;
    Ok(())
}

/// The devices that sent something before the end of memory.
fn early(record: &Value) -> Vec<&str> {
    let devices = record["early-sections"].as_array();
    let names = devices.into_iter().flatten();
    names.filter_map(|device| device["name"].as_str()).collect()
}

#[test]
fn memory_that_is_plugged_and_bitmaps_of_a_disk() -> Result<()> {
    let args = [
        "-m",
        "maxmem=1G",
        "-object",
        "memory-backend-ram,id=plugged,size=256M",
        "-device",
        "virtio-mem-pci,id=virtio-mem,memdev=plugged,requested-size=128M",
        "-blockdev",
        "null-co,node-name=disk,size=67108864,read-zeroes=on",
    ];
    let Some(rig) = Rig::require(&args, &["dirty-bitmaps"])? else {
        return Ok(());
    };
    let mut source = rig.source()?;
    for name in ["one", "another"] {
        bitmaps::mark(&mut source, name, false)?;
    }
    let record = rig.keep(&mut source)?;
    ensure!(early(&record) == ["dirty-bitmap", VIRTIO_MEM], "{record:#}");
    let before = source.passes()?;
    drop(source);

    let mut destination = rig.start_again(&before)?;
    let devices = destination.execute("query-memory-devices", json!({}))?;
    let requested = devices.pointer("/0/data/requested-size");
    ensure!(requested == Some(&json!(128 << 20)), "{devices}");
    let bitmap = |name: &str| (name.to_owned(), MARKED, false);
    assert_eq!(
        bitmaps::of_disk(&mut destination)?,
        [bitmap("another"), bitmap("one")]
    );
    Ok(())
}

#[test]
fn bitmaps_that_an_image_keeps() -> Result<()> {
    let Some(mut rig) = Rig::require(&[], &["dirty-bitmaps"])? else {
        return Ok(());
    };
    rig.has_image = true;
    let mut source = rig.source()?;
    bitmaps::mark(&mut source, "kept", true)?;
    let record = rig.keep(&mut source)?;
    ensure!(early(&record) == ["dirty-bitmap"], "{record:#}");
    let before = source.passes()?;
    drop(source);
    let mut destination = rig.start_again(&before)?;
    assert_eq!(
        bitmaps::of_disk(&mut destination)?,
        [("kept".to_owned(), MARKED, true)]
    );
    Ok(())
}

#[test]
fn bitmaps_without_a_disk() -> Result<()> {
    let Some(rig) = Rig::require(&[], &["dirty-bitmaps"])? else {
        return Ok(());
    };
    let mut source = rig.source()?;
    let record = rig.keep(&mut source)?;
    ensure!(early(&record) == ["dirty-bitmap"], "{record:#}");
    let before = source.passes()?;
    drop(source);
    rig.start_again(&before).map(drop)
}

const VIRTIO_MEM: &str = "0000:00:01.0/virtio-mem-device-early";
