// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the guest is, told with the exit status, the JSON and the last line.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use migration_params::Parameters;
use multifd_migration::stream::{Incoming, ReturnMessage};
use multifd_tests::command::{Finished, Running};
use multifd_tests::host::{self, file_memory};
use multifd_tests::live::{accept_source, send_and_die, take_memory};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, guest, recv, send, start};

const IN_DOUBT: i32 = 7;
const KEPT: i32 = 8;
const PEER: i32 = 3;
const CHANNELS: usize = 2;
const PAGES: usize = 100;

#[test]
fn a_source_whose_destination_ends_without_the_word_is_in_doubt() -> Result<()> {
    // Whatever has come instead of the word: the address was right.
    for last in [&[][..], &[0xff; 8]] {
        let sent = send_to(|_, mut main| main.reader_mut().send(last).unwrap())?;
        let object = said(&sent, IN_DOUBT, "in-doubt", "guest: in doubt")?;
        assert_eq!(object["status"], "failed");
        let hint = object["hint"].as_str().unwrap_or_default();
        ensure!(hint.contains("ask the destination"), "{hint}");
    }
    Ok(())
}

#[test]
fn a_source_that_may_have_lost_the_guest_cannot_be_cancelled() -> Result<()> {
    let sent = send_to(|source, main| {
        source.signal(Signal::INT).unwrap();
        source.wait_line("too late to cancel").unwrap();
        drop(main);
    })?;
    let object = said(&sent, IN_DOUBT, "in-doubt", "guest: in doubt")?;
    assert_eq!(object["status"], "failed");
    Ok(())
}

#[test]
fn a_second_signal_leaves_it_in_doubt() -> Result<()> {
    let sent = send_to(|source, _main| {
        for _ in 0..2 {
            source.signal(Signal::INT).unwrap();
            // The last one ends it without a word.
            let _ = source.wait_line("too late to cancel");
        }
    })?;
    ensure!(sent.code == Some(IN_DOUBT), "{sent:#?}");
    Ok(())
}

#[test]
fn a_source_that_is_refused_keeps_the_guest() -> Result<()> {
    let sent = send_to(|_, mut main| main.reply(ReturnMessage::Shut(1)).unwrap())?;
    said(&sent, PEER, "here", "guest: it is here, as before")?;
    Ok(())
}

#[test]
fn a_destination_that_is_not_told_to_run_the_guest_keeps_it() -> Result<()> {
    let folder = Folder::new()?;
    folder.write("source", &guest(PAGES))?;
    let from = format!("unix:{}", folder.text("socket"));
    let (receiving, _) = recv(&from, &["--ram", &folder.text("destination")])?;
    let memory = file_memory(&[("ram", &folder.path("source"))])?;
    let method = host::open(&Parameters::default())?;
    send_and_die(&folder.path("socket"), memory, &method, CHANNELS)?;
    let received = receiving.finish()?;
    let object = said(&received, KEPT, "kept", "guest: all of it is kept here")?;
    assert_eq!(object["status"], "failed");
    Ok(())
}

#[test]
fn what_cannot_be_printed_changes_nothing() -> Result<()> {
    for json in [&["--json"][..], &[]] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(PAGES))?;
        let [to, between] = ["socket", "relay"].map(|name| format!("unix:{}", folder.text(name)));
        let unheard = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_multifd"));
            Running::start_unheard(command.args(args).args(json))
        };
        let mut receiving =
            unheard(&["recv", "--from", &to, "--ram", &folder.text("destination")])?;
        receiving.wait_address()?;
        let relay = [
            "relay",
            "--keep-listening",
            "--listen",
            &between,
            "--to",
            &to,
        ];
        let mut relaying = unheard(&relay)?;
        relaying.wait_address()?;
        let sending = unheard(&["send", "--to", &between, "--ram", &source])?;
        for ended in [sending, receiving] {
            let ended = ended.finish()?;
            ensure!(ended.code == Some(0), "{ended:#?}");
            ensure!(ended.stderr.contains("could not be printed"), "{ended:#?}");
        }
        folder.same("source", "destination")?;

        // A second one by the same relay.
        let (receiving, _) = recv(&to, &["--ram", &folder.text("second")])?;
        send(&between, &["--ram", &source])?.json(0)?;
        receiving.finish()?.json(0)?;
        folder.same("source", "second")?;
        ensure!(relaying.is_running()?, "it goes on listening");
    }
    Ok(())
}

#[test]
fn a_terminal_that_goes_ends_a_destination() -> Result<()> {
    let folder = Folder::new()?;
    let from = format!("unix:{}", folder.text("socket"));
    let (receiving, _) = recv(&from, &["--ram", &folder.text("destination")])?;
    receiving.signal(Signal::HUP)?;
    receiving.finish()?.failed(&[130], &["aborted"])
}

#[test]
fn a_destination_that_is_told_to_survive_its_terminal_does() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(PAGES))?;
    let from = format!("unix:{}", folder.text("socket"));
    // As nohup does it.
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_multifd")]);
    let args = [
        "recv",
        "--json",
        "--from",
        &from,
        "--ram",
        &folder.text("destination"),
    ];
    let mut receiving = Running::start(command.args(args))?;
    let to = receiving.wait_address()?;
    receiving.signal(Signal::HUP)?;
    send(&to, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "destination")
}

/// Sends a guest to a destination that takes everything, as a QEMU does, and then does what `end` says.
fn send_to(end: impl FnOnce(&mut Running, Incoming) + Send) -> Result<Finished> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(PAGES))?;
    let listener = UnixListener::bind(folder.path("socket"))?;
    let to = format!("unix:{}", folder.text("socket"));
    let mut sending = start(&["send", "--json", "--quiet", "--to", &to, "--ram", &source])?;
    thread::scope(|scope| {
        let taking = scope.spawn(|| -> Result<()> {
            let mut main = accept_source(&listener, CHANNELS)?;
            take_memory(&mut main, Some)?;
            main.read_tail()?;
            end(&mut sending, main);
            Ok(())
        });
        taking
            .join()
            .map_err(|_| anyhow!("the destination panicked"))?
    })?;
    sending.finish()
}

/// Checks what a side has said of the guest, and answers its JSON.
fn said(ended: &Finished, code: i32, guest: &str, last_line: &str) -> Result<Value> {
    let object = ended.json(code)?;
    ensure!(object.get("guest") == Some(&guest.into()), "{ended:#?}");
    let last = ended.stderr.lines().last().context("it says nothing")?;
    ensure!(last.starts_with(last_line), "{ended:#?}");
    Ok(object)
}
