// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Hypervisors that are killed while a guest migrates from one to the other: when so much has been said.

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::{Finished, Running};
use multifd_tests::conformance::PageSource;
use serde_json::Value;

use crate::harness::{Folder, start};
use crate::tripwire::{Moment, Said, Tripwire, Way};

#[test]
fn the_guest_stays_when_the_destination_is_killed() -> Result<()> {
    let (mut stayed, mut left) = (0, 0);
    for moment in Moments::measure(11)? {
        let ended = Pair::start(Some(moment))?.end(Victim::Destination)?;
        let source = &ended.source;
        let what = || format!("killed at {moment:?}: {ended:#?}");
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
        if is_before_the_end(moment) {
            ensure!(ended.said.has_killed, what());
            ensure!(FAILED.map(Some).contains(&source.code), what());
        }
    }
    ensure!(stayed > 0, "{left} of {left} were over before");
    Ok(())
}

#[test]
fn the_guest_is_whole_or_nowhere_when_the_source_is_killed() -> Result<()> {
    let (mut came, mut lost) = (0, 0);
    for moment in Moments::measure(12)? {
        let ended = Pair::start(Some(moment))?.end(Victim::Source)?;
        let (whole, destination) = (ended.source.code == Some(0), &ended.destination);
        let what = || format!("killed at {moment:?}: {ended:#?}");
        if destination.code == Some(0) {
            came += 1;
            let guest = &destination.json(0)?["guest-check"];
            let written = |name: &str| guest[name].as_u64().with_context(what);
            ensure!(written("written")? > written("written-before")?, what());
            ensure!(guest["failures"] == Value::Array(Vec::new()), what());
            ended.folder.same("source", "destination")?;
        } else {
            ensure!(!whole, what());
            match destination.code {
                // All of it, but for the word that it may run there.
                Some(KEPT) => {
                    destination.failed(&[KEPT], &["guest: all of it is kept here"])?;
                    ended.folder.same("source", "destination")?;
                }
                _ => {
                    destination.failed(&FAILED, &["multifd: destination"])?;
                    lost += 1;
                }
            }
        }
        if is_before_the_end(moment) {
            ensure!(ended.said.has_killed, what());
            ensure!(FAILED.map(Some).contains(&destination.code), what());
        }
    }
    ensure!(lost > 0, "{came} of {came} were over before");
    Ok(())
}

/// The peer, the connection.
const FAILED: [i32; 2] = [3, 4];
const IN_DOUBT: i32 = 7;
const KEPT: i32 = 8;

/// Less was said than the guest has memory, none of which can be compressed.
fn is_before_the_end((way, byte): Moment) -> bool {
    way == Way::There && byte < MEMORY as u64
}

enum Victim {
    Source,
    Destination,
}

/// Two hypervisors, of which one has a guest that migrates to the other.
struct Pair {
    source: Running,
    destination: Running,
    tripwire: Tripwire,
    folder: Folder,
}

/// What became of a pair.
#[derive(Debug)]
struct Ended {
    source: Finished,
    destination: Finished,
    said: Said,
    folder: Folder,
}

impl Pair {
    fn start(moment: Option<Moment>) -> Result<Self> {
        let folder = Folder::new()?;
        let mut content = PageSource::new(7);
        let content: Vec<u8> = (0..MEMORY / 8)
            .flat_map(|_| content.number().to_le_bytes())
            .collect();
        let source = folder.write("source", &content)?;
        let destination = folder.write("destination", &vec![0x5a; MEMORY])?;
        let work = [
            "--working-set",
            "2M",
            "--dirty-rate",
            "4M",
            "--json",
            "--quiet",
        ];
        let side = |ram| [&["vm", "--ram", ram], &work[..]].concat();
        let listen = ["--listen", "tcp:127.0.0.1:0"];
        let mut destination = start(&[&side(&destination)[..], &listen].concat())?;
        let tripwire = Tripwire::start(&destination.wait_address()?, moment)?;
        let source = start(&[&side(&source)[..], &["--to", tripwire.address()]].concat())?;
        Ok(Self {
            source,
            destination,
            tripwire,
            folder,
        })
    }

    /// Lets it go on, to the moment or to the end.
    fn end(self, victim: Victim) -> Result<Ended> {
        self.tripwire.set_victim(match victim {
            Victim::Source => self.source.id(),
            Victim::Destination => self.destination.id(),
        })?;
        Ok(Ended {
            source: self.source.finish()?,
            destination: self.destination.finish()?,
            said: self.tripwire.said(),
            folder: self.folder,
        })
    }
}

const MEMORY: usize = 8 << 20;

/// Moments of a migration: by turns anywhere in what the source says, and in the few bytes of the destination, between
/// which the guest changes hands.
struct Moments {
    random: PageSource,
    whole: Said,
    left: u64,
}

impl Moments {
    /// Lets one go through, to know how much is said in one.
    fn measure(seed: u64) -> Result<Self> {
        let ended = Pair::start(None)?.end(Victim::Source)?;
        for side in [&ended.source, &ended.destination] {
            side.json(0)?;
        }
        Ok(Self {
            random: PageSource::new(seed),
            whole: ended.said,
            left: moments(),
        })
    }
}

impl Iterator for Moments {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        self.left = self.left.checked_sub(1)?;
        let (way, most) = match self.left % 2 {
            0 => (Way::There, self.whole.there),
            _ => (Way::Back, self.whole.back),
        };
        Some((way, 1 + self.random.number() % most))
    }
}

/// How many moments are tried at each side: so many as the environment variable `MULTIFD_MOMENTS` says,
/// or 8.
fn moments() -> u64 {
    let number = std::env::var("MULTIFD_MOMENTS").ok();
    number.and_then(|text| text.parse().ok()).unwrap_or(8)
}
