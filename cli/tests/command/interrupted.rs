// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that a signal ends.

use anyhow::Result;
use multifd_tests::command::Running;
use rustix::process::Signal;

use crate::harness::{Folder, guest, recv, start};

const INTERRUPTED: i32 = 130;
const PEER_OR_CONNECTION: [i32; 2] = [3, 4];

/// A migration that takes its time, seen running.
fn slow(folder: &Folder) -> Result<(Running, Running)> {
    let source = folder.write("source", &guest(4096))?;
    let from = format!("unix:{}", folder.text("socket"));
    let (receiving, to) = recv(&from, &["--ram", &folder.text("destination")])?;
    let limit = ["--max-bandwidth", "256K"];
    let send = ["send", "--json", "--to", &to, "--ram", &source];
    let sending = start(&[&send[..], &limit].concat())?;
    folder.wait_for_memory("destination.partial")?;
    Ok((sending, receiving))
}

#[test]
fn the_source_ends_both_sides() -> Result<()> {
    let folder = Folder::new()?;
    let (sending, receiving) = slow(&folder)?;
    sending.signal(Signal::INT)?;
    let sent = sending.finish()?;
    assert_eq!(sent.json(INTERRUPTED)?["status"], "cancelled");
    receiving
        .finish()?
        .failed(&PEER_OR_CONNECTION, &["multifd: destination"])?;
    assert_eq!(folder.names()?, ["source"]);
    Ok(())
}

#[test]
fn the_destination_ends_both_sides() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = Folder::new()?;
        let (sending, receiving) = slow(&folder)?;
        receiving.signal(signal)?;
        let received = receiving.finish()?;
        assert_eq!(received.json(INTERRUPTED)?["status"], "cancelled");
        sending
            .finish()?
            .failed(&PEER_OR_CONNECTION, &["multifd: source"])?;
        assert_eq!(folder.names()?, ["source"]);
    }
    Ok(())
}

#[test]
fn a_destination_that_waits_ends() -> Result<()> {
    let folder = Folder::new()?;
    let from = format!("unix:{}", folder.text("socket"));
    let (receiving, _) = recv(&from, &["--ram", &folder.text("destination")])?;
    receiving.signal(Signal::INT)?;
    receiving.finish()?.failed(&[INTERRUPTED], &["aborted"])?;
    assert_eq!(folder.names()?, [""; 0]);
    Ok(())
}

#[test]
fn a_source_that_waits_ends() -> Result<()> {
    let folder = Folder::new()?;
    let (source, to) = (
        folder.write("source", &guest(1))?,
        format!("unix:{}", folder.text("no")),
    );
    let args = [
        "send",
        "--verbose",
        "--to",
        &to,
        "--ram",
        &source,
        "--wait",
        "1000",
    ];
    let mut sending = start(&args)?;
    sending.wait_line("nobody listens")?;
    sending.signal(Signal::INT)?;
    sending.finish()?.failed(&[INTERRUPTED], &[])
}

#[test]
fn a_demo_takes_its_processes_with_it() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let demo = [
        "demo",
        "--memory",
        "8M",
        "--fill",
        &fill,
        "--max-bandwidth",
        "256K",
    ];
    let mut demo = start(&demo)?;
    demo.wait_line("two processes")?;
    demo.signal(Signal::TERM)?;
    demo.finish()?.failed(&[INTERRUPTED], &["aborted"])
}
