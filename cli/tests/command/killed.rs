// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Hypervisors that are killed while a guest migrates from one to the other.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::Running;
use multifd_tests::conformance::PageSource;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, start};

#[test]
fn the_guest_stays_when_the_destination_is_killed() -> Result<()> {
    let mut random = PageSource::new(11);
    let (mut stayed, mut left) = (0, 0);
    for number in 0..moments() {
        let Pair {
            source,
            destination,
            folder: _folder,
        } = Pair::start()?;
        let moment = moment(&mut random);
        thread::sleep(moment);
        destination.signal(Signal::KILL)?;
        destination.finish()?;
        let source = source.finish()?;
        let what = || format!("{number}: killed after {moment:?}: {source:#?}");
        match source.code {
            // It had come, and was killed with its hypervisor.
            Some(0) => left += 1,
            // It was about to: the source does not know.
            Some(IN_DOUBT) => {
                source.failed(&[IN_DOUBT], &["guest: in doubt"])?;
                left += 1;
            }
            _ => {
                source.failed(&FAILED, &["the guest runs on here, and writes"])?;
                stayed += 1;
            }
        }
        ensure!(source.code.is_some(), what());
    }
    ensure!(stayed > 0, "{left} of {left} were over before");
    Ok(())
}

#[test]
fn the_guest_is_whole_or_nowhere_when_the_source_is_killed() -> Result<()> {
    let mut random = PageSource::new(12);
    let (mut came, mut lost) = (0, 0);
    for number in 0..moments() {
        let Pair {
            source,
            destination,
            folder,
        } = Pair::start()?;
        let moment = moment(&mut random);
        thread::sleep(moment);
        source.signal(Signal::KILL)?;
        let whole = source.finish()?.code == Some(0);
        let destination = destination.finish()?;
        let what = || format!("{number}: killed after {moment:?}: {destination:#?}");
        if destination.code == Some(0) {
            came += 1;
            let guest = &destination.json(0)?["guest-check"];
            let written = |name: &str| guest[name].as_u64().with_context(what);
            ensure!(written("written")? > written("written-before")?, what());
            ensure!(guest["failures"] == Value::Array(Vec::new()), what());
            folder.same("source", "destination")?;
        } else {
            ensure!(!whole, what());
            destination.failed(&[KEPT, FAILED[0], FAILED[1]], &["multifd: destination"])?;
            match destination.code {
                // All of it, but for the word that it may run there.
                Some(KEPT) => folder.same("source", "destination")?,
                _ => lost += 1,
            }
        }
    }
    ensure!(lost > 0, "{came} of {came} were over before");
    Ok(())
}

/// The peer, the connection.
const FAILED: [i32; 2] = [3, 4];
const IN_DOUBT: i32 = 7;
const KEPT: i32 = 8;

/// Two hypervisors, of which one has a guest that migrates to the other.
struct Pair {
    source: Running,
    destination: Running,
    folder: Folder,
}

impl Pair {
    fn start() -> Result<Self> {
        let folder = Folder::new()?;
        let mut content = PageSource::new(7);
        let content: Vec<u8> = (0..MEMORY / 8)
            .flat_map(|_| content.number().to_le_bytes())
            .collect();
        let source = folder.write("source", &content)?;
        let destination = folder.write("destination", &vec![0x5a; MEMORY])?;
        let work = ["--working-set", "2M", "--dirty-rate", "4M"];
        let set = ["--json", "--quiet", "--set", "max-bandwidth=32M"];
        let side = |ram| [&["vm", "--ram", ram], &work[..], &set].concat();
        let from = ["--from", "tcp:127.0.0.1:0"];
        let mut destination = start(&[&side(&destination)[..], &from].concat())?;
        let to = destination.wait_address()?;
        let source = start(&[&side(&source)[..], &["--to", &to]].concat())?;
        Ok(Self {
            source,
            destination,
            folder,
        })
    }
}

const MEMORY: usize = 8 << 20;

/// A migration takes about as long, with what comes before.
fn moment(random: &mut PageSource) -> Duration {
    Duration::from_micros(random.number() % 450_000)
}

/// How many moments are tried at each side: so many as the environment variable `MULTIFD_MOMENTS` says,
/// or 8.
fn moments() -> u64 {
    let number = std::env::var("MULTIFD_MOMENTS").ok();
    number.and_then(|text| text.parse().ok()).unwrap_or(8)
}
