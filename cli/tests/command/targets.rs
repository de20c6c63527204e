// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination writes to: looked at before it listens, and nobody else's.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::harness::{Folder, guest, recv, run, send};

const LOCAL: i32 = 1;
const USAGE: i32 = 2;

/// A destination that must not even listen.
fn refused(args: &[&str], code: i32, words: &[&str]) -> Result<()> {
    // Should it listen nevertheless, it ends soon.
    let recv = ["recv", "--from", "tcp:127.0.0.1:0", "--wait", "0.1"];
    let ended = run(&[&recv[..], args].concat())?;
    ended.failed(&[code], words)?;
    ensure!(!ended.stdout.contains("listening"), "{ended:#?}");
    Ok(())
}

#[test]
fn a_target_that_cannot_be_is_refused_before_it_listens() -> Result<()> {
    let folder = Folder::new()?;
    let text = |name: &str| folder.text(name);
    let missing = text("missing/guest");
    // Nobody can create anything there, not even root.
    let read_only = "/proc/self/guest";
    for target in [missing.as_str(), read_only] {
        let words = ["cannot create", target];
        refused(&["--ram", target], LOCAL, &words)?;
        refused(&["--save", target], LOCAL, &words)?;
        let ram = text("ram");
        refused(&["--ram", &ram, "--devices", target], LOCAL, &words)?;
    }
    assert_eq!(folder.names()?, [""; 0]);

    let there = folder.write("there", b"theirs")?;
    refused(&["--ram", &there], USAGE, &["already exists", "hint: "])?;
    refused(&["--save", &there], USAGE, &["already exists", "hint: "])?;
    let devices = ["--ram", &text("ram"), "--devices", &there];
    refused(&devices, USAGE, &["already exists", "hint: "])?;
    std::os::unix::fs::symlink("nowhere", folder.path("link"))?;
    refused(&["--ram", &text("link")], USAGE, &["already exists"])?;
    assert_eq!(folder.names()?, ["link", "there"]);
    assert_eq!(std::fs::read(folder.path("there"))?, b"theirs");
    Ok(())
}

#[test]
fn one_file_for_two_things_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    let old = folder.write("old", &guest(1))?;
    std::fs::hard_link(&old, folder.path("hard"))?;
    std::os::unix::fs::symlink("old", folder.path("soft"))?;
    let of = |name: &str, file: &str| format!("{name}={}", folder.text(file));
    let one_file = ["are the same file", "hint: "];
    for other in ["old", "hard", "soft"] {
        let both = ["--ram", &of("a", "old"), "--ram", &of("b", other)];
        refused(&[&both[..], &["--in-place"]].concat(), USAGE, &one_file)?;
        let sent = send("tcp:127.0.0.1:1", &both)?;
        sent.failed(&[USAGE], &one_file)?;
    }
    let new = of("a", "new");
    refused(&["--ram", &new, "--ram", &of("b", "new")], USAGE, &one_file)?;
    let devices = ["--ram", &new, "--devices", &folder.text("new")];
    refused(&devices, USAGE, &one_file)?;
    let devices = [
        "--in-place",
        "--ram",
        &old,
        "--devices",
        &folder.text("soft"),
    ];
    refused(&devices, USAGE, &one_file)?;
    assert_eq!(folder.names()?, ["hard", "old", "soft"]);
    Ok(())
}

#[test]
fn a_second_receiver_is_refused_and_harms_nobody() -> Result<()> {
    for kind in ["--ram", "--save"] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(50))?;
        let target = folder.text("guest");
        let (receiving, address) = recv("tcp:127.0.0.1:0", &[kind, &target])?;
        refused(&[kind, &target], LOCAL, &["another process"])?;
        send(&address, &["--ram", &source])?.json(0)?;
        receiving.finish()?.json(0)?;
        assert_eq!(folder.names()?, ["guest", "source"]);
    }
    let folder = Folder::new()?;
    let target = folder.write("guest", &guest(50))?;
    let in_place = ["--in-place", "--ram", &target];
    let (receiving, _) = recv("tcp:127.0.0.1:0", &in_place)?;
    refused(&in_place, LOCAL, &["another process"])?;
    drop(receiving);
    Ok(())
}

#[test]
fn what_a_killed_receiver_left_is_replaced() -> Result<()> {
    for kind in ["--ram", "--save"] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(50))?;
        let target = folder.text("guest");
        let (killed, _) = recv("tcp:127.0.0.1:0", &[kind, &target])?;
        killed.signal(Signal::KILL)?;
        killed.finish()?;
        assert_eq!(folder.names()?, ["guest.partial", "source"]);
        let (receiving, address) = recv("tcp:127.0.0.1:0", &[kind, &target])?;
        send(&address, &["--ram", &source])?.json(0)?;
        receiving.finish()?.json(0)?;
        assert_eq!(folder.names()?, ["guest", "source"]);
    }
    Ok(())
}
