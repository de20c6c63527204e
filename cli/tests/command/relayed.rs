// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that are passed on.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::{Finished, Running};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Folder, guest, recv, relay, run, send, start};

const PAGES: usize = 700;
const PEER_OR_CONNECTION: [i32; 2] = [3, 4];
const INTERRUPTED: i32 = 130;

#[test]
fn through_two_relays_with_each_method_between_them() -> Result<()> {
    for (method, channels) in [("none", 5), ("zlib", 1), ("zstd", 3), ("qatzip", 2)] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(PAGES))?;
        let from = format!("unix:{}", folder.text("destination-socket"));
        let (receiving, to) = recv(&from, &["--ram", &folder.text("destination")])?;
        let sets = [
            format!("multifd-compression={method}"),
            format!("multifd-channels={channels}"),
        ];
        let there = ["--in", &sets[0], "--in", &sets[1]];
        let (second, between) = relay("tcp:127.0.0.1:0", &to, &there)?;
        let here = ["--out", &sets[0], "--out", &sets[1]];
        let listen = format!("unix:{}", folder.text("relay-socket"));
        let (first, address) = relay(&listen, &between, &here)?;
        let sent = send(&address, &["--ram", &source])?.json(0)?;
        receiving.finish()?.json(0)?;
        folder.same("source", "destination")?;

        let (first, second) = (first.finish()?.json(0)?, second.finish()?.json(0)?);
        for (report, side) in [(&first, "out"), (&second, "in")] {
            assert_eq!(report["status"], "completed");
            assert_eq!(report["confirmed"], true);
            assert_eq!(report[side]["multifd-compression"], method);
            assert_eq!(report[side]["multifd-channels"], channels);
            assert_eq!(report["ram"]["total"], PAGES * 4096);
            for side in ["in", "out"] {
                assert_eq!(report[side]["normal"], sent["ram"]["normal"]);
                assert_eq!(report[side]["duplicate"], sent["ram"]["duplicate"]);
            }
        }
        assert_eq!(first["out"]["multifd-bytes"], second["in"]["multifd-bytes"]);
        // The sockets are gone with those who listened.
        assert_eq!(folder.names()?, ["destination", "source"]);
    }
    Ok(())
}

#[test]
fn a_human_is_told_what_was_passed_on() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(PAGES))?;
    let (receiving, to) = recv("tcp:127.0.0.1:0", &["--ram", &folder.text("destination")])?;
    let socket = format!("unix:{}", folder.text("relay-socket"));
    let relay = ["relay", "--listen", &socket, "--to", &to];
    let relaying = start(&[&relay[..], &["--out", "multifd-channels=2"]].concat())?;
    send(&socket, &["--ram", &source, "--wait", "60"])?.json(0)?;
    receiving.finish()?.json(0)?;
    let ended = relaying.finish()?;
    ensure!(ended.code == Some(0), "{ended:#?}");
    for words in [
        "listening on unix:",
        "passed on 2.73 MiB",
        "(none, 2 channels)",
        "total time",
    ] {
        ensure!(ended.stdout.contains(words), "{words}: {ended:#?}");
    }
    Ok(())
}

#[test]
fn one_migration_after_another() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(PAGES))?;
    let to = format!("unix:{}", folder.text("destination-socket"));
    let args = ["--keep-listening", "--out", "multifd-compression=zstd"];
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", &to, &args)?;

    // Nobody listens there yet.
    let refused = send(&address, &["--ram", &source])?;
    refused.failed(&PEER_OR_CONNECTION, &["multifd: source"])?;
    for name in ["one", "two"] {
        let ram = folder.text(name);
        let recv_args = ["--ram", &ram, "--set", "multifd-compression=zstd"];
        let (receiving, _) = recv(&to, &recv_args)?;
        send(&address, &["--ram", &source])?.json(0)?;
        receiving.finish()?.json(0)?;
        folder.same("source", name)?;
    }
    // Each has its number, and the relay says so when its connections are closed.
    relaying.wait_line(
        "migration 3, guest 00000000-0000-0000-0000-000000000000: from 127.0.0.1, to unix:",
    )?;
    ensure!(relaying.is_running()?);
    relaying.signal(Signal::TERM)?;
    let ended = relaying.finish()?;
    ensure!(ended.code == Some(0), "{ended:#?}");
    let results = ended.stdout.lines().map(serde_json::from_str::<Value>);
    let results: Vec<Value> = results.collect::<Result<_, _>>()?;
    let [failed, one, two] = &results[..] else {
        anyhow::bail!("{results:#?}");
    };
    assert_eq!(
        (&failed["migration"], &failed["exit-code"]),
        (&1.into(), &4.into())
    );
    let text = failed["error-desc"].as_str().context("no text")?;
    ensure!(
        text.contains("relay, destination side: cannot connect to unix:"),
        "{text}"
    );
    for (number, result) in [(2, one), (3, two)] {
        assert_eq!(result["migration"], number);
        assert_eq!(result["status"], "completed");
    }
    for result in &results {
        assert_eq!(result["uuid"], "00000000-0000-0000-0000-000000000000");
        assert_eq!(result["peer"], "127.0.0.1");
        assert_eq!(result["target"], to);
        let start = result["start"].as_str().context("no time")?;
        ensure!(start.starts_with("20") && start.ends_with('Z'), "{start}");
    }
    Ok(())
}

#[test]
fn a_destination_may_come_later() -> Result<()> {
    for is_ended in [false, true] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(PAGES))?;
        let to = format!("unix:{}", folder.text("destination-socket"));
        let (mut relaying, address) =
            relay("tcp:127.0.0.1:0", &to, &["--wait", "1000", "--verbose"])?;
        let sending = start(&["send", "--json", "--to", &address, "--ram", &source])?;
        relaying.wait_line("nobody listens yet")?;
        if is_ended {
            relaying.signal(Signal::INT)?;
            assert_eq!(relaying.finish()?.json(INTERRUPTED)?["status"], "cancelled");
            sending
                .finish()?
                .failed(&PEER_OR_CONNECTION, &["multifd: source"])?;
            continue;
        }
        let (receiving, _) = recv(&to, &["--ram", &folder.text("destination")])?;
        sending.finish()?.json(0)?;
        receiving.finish()?.json(0)?;
        relaying.finish()?.json(0)?;
        folder.same("source", "destination")?;
    }
    Ok(())
}

/// Migrates over so many channels through a relay that may open so few files: `-Sn` is a limit that it may raise, `-n`
/// one that it may not.
fn with_few_files(limit: &str, folder: &Folder, channels: &str) -> Result<(Finished, Running)> {
    let source = folder.write("source", &guest(PAGES))?;
    let set = format!("multifd-channels={channels}");
    let to = format!("unix:{}", folder.text("destination-socket"));
    let recv_args = ["--ram", &folder.text("destination"), "--set", &set];
    let (receiving, _) = recv(&to, &recv_args)?;
    let relay = format!(
        "ulimit {limit} 64 && exec {} relay --json --quiet --keep-listening --listen tcp:127.0.0.1:0 \
         --to {to} --in {set} --out {set}",
        env!("CARGO_BIN_EXE_multifd")
    );
    let mut relaying = Running::start(Command::new("sh").args(["-c", &relay]))?;
    let address = relaying.wait_address()?;
    let sent = send(&address, &["--ram", &source, "--set", &set])?;
    if sent.code == Some(0) {
        receiving.finish()?.json(0)?;
    }
    Ok((sent, relaying))
}

#[test]
fn many_channels_take_many_files() -> Result<()> {
    let folder = Folder::new()?;
    let (sent, _relaying) = with_few_files("-Sn", &folder, "40")?;
    sent.json(0)?;
    folder.same("source", "destination")?;

    // What cannot be had ends one migration, not the relay.
    let folder = Folder::new()?;
    let (sent, mut relaying) = with_few_files("-n", &folder, "20")?;
    sent.failed(&PEER_OR_CONNECTION, &["multifd: source"])?;
    relaying.wait_line("Too many open files")?;
    ensure!(relaying.is_running()?);
    Ok(())
}

/// Whoever connects first, and whatever that is, the migration that comes is passed on.
#[test]
fn clients_of_something_else_are_closed() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(PAGES))?;
    let from = format!("unix:{}", folder.text("destination-socket"));
    let (receiving, to) = recv(&from, &["--ram", &folder.text("destination")])?;
    let (relaying, address) = relay("tcp:127.0.0.1:0", &to, &[])?;
    TcpStream::connect(address.trim_start_matches("tcp:"))?;
    let mut client = TcpStream::connect(address.trim_start_matches("tcp:"))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")?;
    // Closed with something unread it is reset.
    let _ = client.read(&mut [0]);
    send(&address, &["--ram", &source])?.json(0)?;
    relaying.finish()?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "destination")
}

#[test]
fn a_relay_that_waits_ends() -> Result<()> {
    let (relaying, _) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &[])?;
    relaying.signal(Signal::INT)?;
    relaying.finish()?.failed(&[INTERRUPTED], &["aborted"])
}

/// All three end, whoever is told to.
#[test]
fn a_signal_ends_both_sides() -> Result<()> {
    for victim in 0..3 {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(4096))?;
        let destination = folder.text("destination");
        let (receiving, to) = recv("tcp:127.0.0.1:0", &["--ram", &destination])?;
        let socket = format!("unix:{}", folder.text("relay-socket"));
        let (relaying, address) = relay(&socket, &to, &[])?;
        // The source is slow: what is on the way already is passed on before its end is seen.
        let slow = ["--max-bandwidth", "256K"];
        let send = ["send", "--json", "--to", &address, "--ram", &source];
        let sending = start(&[&send[..], &slow].concat())?;
        folder.wait_for_memory("destination.partial")?;
        let all = [sending, relaying, receiving];
        all[victim].signal(Signal::INT)?;
        for (at, running) in all.into_iter().enumerate() {
            let ended = running.finish()?;
            if at == victim {
                assert_eq!(ended.json(INTERRUPTED)?["status"], "cancelled");
            } else {
                ended.failed(&PEER_OR_CONNECTION, &["multifd: "])?;
            }
        }
        assert_eq!(folder.names()?, ["source"]);
    }
    Ok(())
}

#[test]
fn what_a_relay_cannot_do_is_refused() -> Result<()> {
    let relay = [
        "relay",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        "unix:/nowhere",
    ];
    for (more, words) in [
        (
            ["--in", "downtime-limit=1"],
            "source and destination decide",
        ),
        (
            ["--in", "zero-page-detection=none"],
            "source and destination decide",
        ),
        (
            ["--out", "zero-page-detection=legacy"],
            "in packets (multifd) or not at all (none)",
        ),
        (
            ["--out", "multifd-chanels=2"],
            "did you mean 'multifd-channels'?",
        ),
        (["--in", "multifd-channels=0"], "between 1 and 255"),
        (["--out", "multifd-compression=lz4"], "multifd-compression"),
        (["--max-migrations", "2"], "--keep-listening"),
        (["--time-limit", "soon"], "wanted a number of seconds"),
    ] {
        run(&[&relay[..], &more].concat())?.failed(&[2], &[words])?;
    }
    run(&["relay"])?.failed(&[2], &["--to"])
}
