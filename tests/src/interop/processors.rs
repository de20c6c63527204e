// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests of other processors: their machines name the size of a page, or have sections before the end of RAM.

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::steps::{self, LIMIT, Link};
use super::{Age, Case, Lab, Peers, Row};
use crate::guest::Foreign;
use crate::peer::{Processor, Qemu};

/// Each machine through a relay, and through a folder.
pub(super) fn cases() -> Vec<Case> {
    let ways = ["relay", "recv --save, send --load"].into_iter();
    let cases = ways.flat_map(|role| Processor::ALL.map(|processor| (processor, role)));
    cases
        .map(|(processor, role)| {
            let row = row(processor, role);
            let run = move |lab: &Lab| run(lab, processor, role);
            Case::new("processors", row, run)
        })
        .collect()
}

fn row(processor: Processor, role: &'static str) -> Row {
    let age = Age::Emulator(processor);
    let (incoming, outgoing) = links(processor);
    Row {
        peers: Peers::Between(age, age),
        role,
        machine: format!("{} {}", processor.name(), processor.machine()),
        method: format!("{}, {}", incoming.method, outgoing.method),
        mode: "live".into(),
        channels: format!("{}, {}", incoming.channels, outgoing.channels),
    }
}

/// The links of the source and of the destination.
fn links(processor: Processor) -> (Link, Link) {
    let zstd = Link {
        method: "zstd",
        channels: 3,
        ..Link::PLAIN
    };
    match processor {
        Processor::S390x => (zstd, Link::PLAIN),
        _ => (Link::PLAIN, zstd),
    }
}

fn run(lab: &Lab, processor: Processor, role: &str) -> Result<Vec<&'static str>> {
    let bench = Bench::new(lab, processor)?;
    let (incoming, outgoing) = links(processor);
    let mut source = bench.source(incoming)?;
    let mut destination = bench.destination(outgoing)?;
    match role {
        "relay" => bench.relay(&mut source, &mut destination)?,
        _ => bench.keep(&mut source, &mut destination)?,
    }
    bench.check(&mut source, &mut destination)?;
    Ok(vec![
        "every byte of memory",
        "the registers",
        "the guest counts on",
    ])
}

/// A guest, its processor's QEMU and the files that are its memory at the source and at the destination.
struct Bench<'l> {
    lab: &'l Lab,
    processor: Processor,
    guest: Foreign,
    folder: TempDir,
}

impl<'l> Bench<'l> {
    fn new(lab: &'l Lab, processor: Processor) -> Result<Self> {
        Ok(Self {
            lab,
            processor,
            guest: Foreign::new(processor)?,
            folder: TempDir::with_prefix("multifd-processor-")?,
        })
    }

    fn machine(&self, memory: &str) -> crate::peer::Builder {
        let binary = self.lab.qemu(Age::Emulator(self.processor));
        let machine = binary.machine().machine_type(self.processor.machine());
        let machine = machine.memory_file(self.path(memory), self.guest.memory());
        machine.args(self.guest.args())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A guest that counts, with pages of every kind where it does not write.
    fn source(&self, link: Link) -> Result<Qemu> {
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/ram.bin");
        let mut file = OpenOptions::new();
        let mut file = file
            .create(true)
            .write(true)
            .truncate(true)
            .open(self.path(SOURCE))?;
        file.set_len(self.guest.memory())?;
        file.seek(SeekFrom::Start(CONTENT))?;
        file.write_all(&fs::read(recorded)?)?;
        let mut qemu = self.machine(SOURCE).running().start()?;
        link.prepare(&mut qemu, Age::Current)?;
        self.wait_for_count(&mut qemu, 0)?;
        Ok(qemu)
    }

    /// A QEMU that waits for the guest, and will not let it run.
    fn destination(&self, link: Link) -> Result<Qemu> {
        let mut qemu = self.machine(DESTINATION).incoming_defer().start()?;
        link.prepare(&mut qemu, Age::Current)?;
        qemu.migrate_incoming(&self.uri("incoming"))?;
        Ok(qemu)
    }

    fn uri(&self, name: &str) -> String {
        steps::socket(self.folder.path(), name)
    }

    fn relay(&self, source: &mut Qemu, destination: &mut Qemu) -> Result<()> {
        let (listen, to) = (self.uri("relay"), self.uri("incoming"));
        let (relay, uri) =
            steps::start_relay(self.lab, (&listen, &to), links(self.processor), &[])?;
        steps::migrate_live(source, &uri)?;
        let ended = relay.finish()?;
        ended.json(0).with_context(|| destination.stderr())?;
        // The layouts of all sections are known.
        ensure!(!ended.stderr.contains("warn"), "{ended:#?}");
        Ok(())
    }

    fn keep(&self, source: &mut Qemu, destination: &mut Qemu) -> Result<()> {
        let saved = self.path("guest").display().to_string();
        let (incoming, outgoing) = links(self.processor);
        let recv = ["recv", "--from", &self.uri("recv"), "--save", &saved].map(String::from);
        let mut receiving = self
            .lab
            .multifd()
            .start(recv.into_iter().chain(incoming.args()))?;
        steps::migrate_live(source, &receiving.wait_address()?)?;
        receiving.finish()?.json(0)?;
        let send = ["send", "--to", &self.uri("incoming"), "--load", &saved].map(String::from);
        let sent = self
            .lab
            .multifd()
            .start(send.into_iter().chain(outgoing.args()))?;
        sent.finish()?
            .json(0)
            .with_context(|| destination.stderr())?;
        Ok(())
    }

    /// The guest is at the destination what it was at the source, and goes on.
    fn check(&self, source: &mut Qemu, destination: &mut Qemu) -> Result<()> {
        source.wait_status(&["completed"], LIMIT)?;
        destination.wait_status(&["completed"], LIMIT)?;
        let [before, after] = [SOURCE, DESTINATION].map(|name| fs::read(self.path(name)));
        ensure!(before? == after?, "the memories differ");
        let (before, after) = (registers(source)?, registers(destination)?);
        ensure!(before == after, "the registers differ:\n{before}\n{after}");
        let count = self.guest.count(destination)?;
        destination.cont()?;
        self.wait_for_count(destination, count)
    }

    /// Waits until the guest has counted further than this.
    fn wait_for_count(&self, qemu: &mut Qemu, last: u64) -> Result<()> {
        let start = Instant::now();
        while self.guest.count(qemu)? <= last {
            let registers = registers(qemu)?;
            ensure!(start.elapsed() < LIMIT, "it does not count: {registers}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// All registers of the processor, but those that show the time, and POWER's MSR: a QEMU does not load all of it.
fn registers(qemu: &mut Qemu) -> Result<String> {
    let command = json!({"command-line": "info registers"});
    let answer = qemu.execute("human-monitor-command", command)?;
    let text = answer.as_str().context("no text")?;
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("TB ") && !line.starts_with("MSR "));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

const SOURCE: &str = "source";
const DESTINATION: &str = "destination";
/// Where in memory there are pages of every kind: behind the guest and what belongs to it.
const CONTENT: u64 = 10 << 20;
