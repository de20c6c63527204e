// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One guest that goes through both relays, or does not get there.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use multifd_core::wire::Uuid;
use multifd_tests::command::{Finished, Running};
use multifd_tests::streams::Random;
use rustix::process::Signal;

use crate::harness::{Folder, PAGE, guest, recv, start};

/// A guest, and what happens to it.
pub(super) struct Migration {
    uuid: Uuid,
    content: Vec<u8>,
    fate: Fate,
}

/// What happens once so many pages have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Nothing,
    Cancelled(usize),
    SourceKilled(usize),
    DestinationKilled(usize),
}

/// Where the guest is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At the destination.
    Arrived,
    /// At the source.
    Stayed,
    /// On the host that was killed.
    Killed,
}

impl Migration {
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
        let mut uuid = [0xa5; 16];
        for (at, byte) in uuid.iter_mut().zip(random.number().to_be_bytes()) {
            *at = byte;
        }
        let pages = 16 + random.below(600);
        let mut content = guest(pages);
        for (page, bytes) in content.chunks_exact_mut(PAGE).enumerate() {
            // Some are zero. The others name their guest.
            if page % 7 > 1 {
                for (at, byte) in bytes.iter_mut().zip(uuid) {
                    *at = byte;
                }
            }
        }
        let moment = random.below(pages + 1);
        Self {
            uuid: Uuid(uuid),
            content,
            fate: match random.below(8) {
                0 | 1 => Fate::Cancelled(moment),
                2 => Fate::SourceKilled(moment),
                3 => Fate::DestinationKilled(moment),
                _ => Fate::Nothing,
            },
        }
    }

    /// Lets it go through the relay at `address`, and sees where it is then.
    pub(super) fn run(&self, folder: &Folder, address: &str) -> Result<Outcome> {
        let uuid = self.uuid.to_string();
        let file = |what: &str| format!("{uuid}.{what}");
        let source = folder.write(&file("source"), &self.content)?;
        let socket = folder.text(&uuid);
        let target = folder.text(&file("destination"));
        let from = format!("unix:{socket}");
        let (receiving, _) = recv(&from, &["--ram", &target, "--uuid", &uuid])?;
        let send = ["send", "--json", "--to", address, "--ram", &source];
        let mut send = [&send[..], &["--uuid", &uuid]].concat();
        if self.fate != Fate::Nothing {
            // So that it lasts long enough for something to happen.
            send.extend(["--max-bandwidth", "4M"]);
        }
        let sending = start(&send)?;
        let (sent, received) = self.happens(folder, sending, receiving)?;
        let outcome = self.outcome(folder, &sent, &received);
        let what = || format!("guest {uuid}, {:?}: {sent:#?} {received:#?}", self.fate);
        let outcome = anyhow::Context::with_context(outcome, what)?;
        for name in [
            "source",
            "destination",
            "destination.partial",
            "destination.unreleased",
        ] {
            // Not all of them are there.
            let _ = std::fs::remove_file(folder.path(&file(name)));
        }
        let _ = std::fs::remove_file(&socket);
        Ok(outcome)
    }

    /// Lets happen what is to happen, and waits for both ends.
    fn happens(
        &self,
        folder: &Folder,
        mut sending: Running,
        mut receiving: Running,
    ) -> Result<(Finished, Finished)> {
        let partial = folder.path(&format!("{}.destination.partial", self.uuid));
        let arrived = || {
            let blocks = partial.metadata().map_or(0, |file| file.blocks());
            usize::try_from(blocks * 512).unwrap_or(usize::MAX) / PAGE
        };
        let mut wait_for = |pages: usize| -> Result<()> {
            let begin = Instant::now();
            while arrived() < pages && sending.is_running()? && receiving.is_running()? {
                ensure!(begin.elapsed() < PATIENCE, "{} of {pages} pages", arrived());
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        };
        match self.fate {
            Fate::Nothing => {}
            Fate::Cancelled(pages) => {
                wait_for(pages)?;
                signal(&mut sending, Signal::INT)?;
            }
            Fate::SourceKilled(pages) => {
                wait_for(pages)?;
                signal(&mut sending, Signal::KILL)?;
            }
            Fate::DestinationKilled(pages) => {
                wait_for(pages)?;
                signal(&mut receiving, Signal::KILL)?;
            }
        }
        let sent = sending.finish()?;
        let has_begun = arrived() > 0;
        if sent.code != Some(0) && !has_begun {
            // Nobody may have connected to it.
            signal(&mut receiving, Signal::INT)?;
        }
        Ok((sent, receiving.finish()?))
    }

    fn outcome(&self, folder: &Folder, sent: &Finished, received: &Finished) -> Result<Outcome> {
        let name = format!("{}.destination", self.uuid);
        let is_whole = || {
            let content = std::fs::read(folder.path(&name))?;
            ensure!(
                content == self.content,
                "another guest's memory, or not all of it"
            );
            Ok::<_, anyhow::Error>(())
        };
        // A signal that comes before it is listened for kills.
        ensure!(
            sent.code.is_some() || matches!(self.fate, Fate::SourceKilled(_) | Fate::Cancelled(_)),
            "died"
        );
        ensure!(
            received.code.is_some() || matches!(self.fate, Fate::DestinationKilled(_)),
            "died"
        );
        match (sent.code, received.code) {
            (Some(0) | None, Some(0)) => {
                is_whole()?;
                Ok(Outcome::Arrived)
            }
            // It has said so, and was killed before it could end.
            (Some(0) | Some(IN_DOUBT), None) => Ok(Outcome::Killed),
            // All of it, but for the word that it may run there.
            (None, Some(KEPT)) => {
                is_whole()?;
                Ok(Outcome::Killed)
            }
            (None, Some(_)) => Ok(Outcome::Killed),
            (Some(IN_DOUBT), Some(_)) => bail!("in doubt, though nobody was killed"),
            (Some(0), Some(_)) => bail!("lost"),
            (Some(_), Some(0)) => bail!("doubled"),
            (Some(_), _) => {
                ensure!(self.fate != Fate::Nothing, "it has not arrived");
                ensure!(
                    sent.stderr.contains("guest: it is here, as before"),
                    "where is it?"
                );
                Ok(Outcome::Stayed)
            }
            (None, None) => bail!("both were killed"),
        }
    }
}

/// Sends a signal, unless it has ended by itself.
fn signal(running: &mut Running, signal: Signal) -> Result<()> {
    match running.is_running()? {
        true => running.signal(signal),
        false => Ok(()),
    }
}

const IN_DOUBT: i32 = 7;
const KEPT: i32 = 8;
/// More than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
