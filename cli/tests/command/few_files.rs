// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Guests that go through a relay at the same time that may open 64 files.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use multifd_core::wire::Uuid;
use multifd_tests::command::Running;
use rustix::process::Signal;

use crate::harness::{Folder, guest, recv, start};
use crate::room::Tmpfs;

/// So many come at once.
const GUESTS: u8 = 8;

/// A relay with so few files, with so many channels on both sides; its log goes to `log`, and nobody hears its results.
fn relay(folder: &Folder, channels: usize, log: &Path) -> Result<Running> {
    let command = env!("CARGO_BIN_EXE_multifd");
    let (listen, to) = (folder.text("relay"), folder.text("{uuid}"));
    let set = format!("multifd-channels={channels}");
    let relay = format!(
        "{command} relay --keep-listening --listen unix:{listen} --to 'unix:{to}' --in {set} --out {set}"
    );
    let script = format!("ulimit -n 64; exec {relay} >&- 2>{}", log.display());
    let mut relaying = Running::start(Command::new("sh").args(["-c", &script]))?;
    let begin = Instant::now();
    while !folder.exists("relay") {
        ensure!(relaying.is_running()?, "{:?}", std::fs::read_to_string(log));
        ensure!(begin.elapsed() < PATIENCE, "it does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(relaying)
}

/// Sends guests through the relay, all of them at once; answers which have not arrived. They run on.
fn send_all(folder: &Folder, channels: usize, numbers: &[u8]) -> Result<Vec<u8>> {
    let source = folder.write("source", &guest(300))?;
    let to = format!("unix:{}", folder.text("relay"));
    let set = format!("multifd-channels={channels}");
    let guests = numbers.iter().map(|number| {
        let uuid = Uuid([*number; 16]).to_string();
        let (from, ram) = (
            format!("unix:{}", folder.text(&uuid)),
            folder.text(&format!("{number}")),
        );
        let named = ["--uuid", &uuid, "--set", &set];
        let (receiving, _) = recv(&from, &[&["--ram", &ram][..], &named].concat())?;
        Ok((receiving, uuid))
    });
    let guests: Vec<(Running, String)> = guests.collect::<Result<_>>()?;
    let sources = guests.into_iter().map(|(receiving, uuid)| {
        let send = ["send", "--json", "--to", &to, "--ram", &source];
        let named = ["--uuid", &uuid, "--set", &set];
        Ok((start(&[&send[..], &named].concat())?, receiving))
    });
    let sources: Vec<(Running, Running)> = sources.collect::<Result<_>>()?;
    let mut stayed = Vec::new();
    for ((sending, receiving), number) in sources.into_iter().zip(numbers) {
        let sent = sending.finish()?;
        if sent.code == Some(0) {
            receiving.finish()?.json(0)?;
            folder.same("source", &number.to_string())?;
        } else {
            sent.failed(&[3, 4], &["guest: it is here, as before"])?;
            std::io::Write::write_all(&mut std::io::stderr(), sent.stderr.as_bytes())?;
            stayed.push(*number);
            // Nobody may have connected to it.
            drop(receiving);
            ensure!(
                !folder.exists(&number.to_string()),
                "{number} is given twice"
            );
        }
    }
    Ok(stayed)
}

#[test]
fn all_arrive_though_nobody_hears_of_it() -> Result<()> {
    let folder = Folder::new()?;
    let small = folder.path("small");
    let Some(disk) = Tmpfs::mount(&small, 64 << 10)? else {
        return Ok(());
    };
    let log = small.join("log");
    std::fs::write(&log, "")?;
    disk.fill()?;
    let relaying = relay(&folder, 1, &log)?;
    let numbers: Vec<u8> = (1..=GUESTS).collect();
    let stayed = send_all(&folder, 1, &numbers)?;
    ensure!(stayed.is_empty(), "{stayed:?} have not arrived");
    ensure!(log.metadata()?.len() == 0, "there was room for the log");
    relaying.signal(Signal::TERM)?;
    ensure!(relaying.finish()?.code == Some(0));
    Ok(())
}

/// One of them takes all that there is.
#[test]
fn who_does_not_arrive_runs_on() -> Result<()> {
    let folder = Folder::new()?;
    let log = folder.path("log");
    let relaying = relay(&folder, 8, &log)?;
    let numbers: Vec<u8> = (1..=GUESTS).collect();
    send_all(&folder, 8, &numbers)?;
    let stayed = send_all(&folder, 8, &[100])?;
    ensure!(
        stayed.is_empty(),
        "alone it has not arrived: {}",
        std::fs::read_to_string(&log)?
    );
    relaying.signal(Signal::TERM)?;
    ensure!(relaying.finish()?.code == Some(0));
    Ok(())
}

/// More than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
