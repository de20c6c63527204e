// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Others who connect to a command that waits for a source.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;

use anyhow::{Result, ensure};
use multifd_tests::by_hand::packet;
use multifd_tests::command::Running;
use rustix::process::Signal;

use crate::harness::{Folder, guest, recv, relay, send};

pub(crate) const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";
pub(crate) const TLS: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[test]
fn a_relay_names_them_and_counts() -> Result<()> {
    let args = ["--keep-listening", "--time-limit", "0.5"];
    let (relaying, address) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &args)?;
    let init = packet::init(3);
    for said in [HTTP, TLS, HTTP, &init, HTTP, HTTP, HTTP, b"QEV"] {
        let mut stranger = TcpStream::connect(address.trim_start_matches("tcp:"))?;
        stranger.write_all(said)?;
        let _ = stranger.read(&mut [0]);
    }
    relaying.signal(Signal::TERM)?;
    let text = relaying.finish()?.stderr;
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("was closed"))
        .collect();
    let [one, two, four, eight] = &lines[..] else {
        anyhow::bail!("{text}");
    };
    for (line, words) in [
        (one, "it began with \"GET \" (1 of no migration so far)"),
        (two, "(2 of no migration so far)"),
        (four, "it has made channel 3, where there are to be 2"),
        (
            eight,
            "it said nothing for 0.5 s (8 of no migration so far)",
        ),
    ] {
        ensure!(
            line.contains("a connection of 127.0.0.1 was closed: "),
            "{line}"
        );
        ensure!(line.contains(words), "{line}");
    }
    Ok(())
}

/// Starts a command that may open so few files that some of those who come must wait.
fn start_with_few_files(args: &str) -> Result<(Running, String)> {
    let command = env!("CARGO_BIN_EXE_multifd");
    let command = format!("ulimit -n 64 && exec {command} {args}");
    let mut running = Running::start(Command::new("sh").args(["-c", &command]))?;
    let address = running.wait_address()?;
    Ok((running, address))
}

#[test]
fn there_are_more_of_them_than_a_process_may_open() -> Result<()> {
    for is_relayed in [false, true] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(7))?;
        let (new, socket) = (folder.text("new"), folder.path("socket"));
        let listen = format!("unix:{}", socket.display());
        let limit = "--json --time-limit 2";
        let (few, receiving) = if is_relayed {
            let (receiving, to) = recv("tcp:127.0.0.1:0", &["--ram", &new])?;
            let relay = format!("relay {limit} --listen {listen} --to {to}");
            (start_with_few_files(&relay)?.0, Some(receiving))
        } else {
            let recv = format!("recv {limit} --from {listen} --ram {new}");
            (start_with_few_files(&recv)?.0, None)
        };
        let silent: Vec<_> = (0..100)
            .map(|_| UnixStream::connect(&socket))
            .collect::<std::io::Result<_>>()?;
        send(&listen, &["--ram", &source])?.json(0)?;
        let few = few.finish()?;
        few.json(0)?;
        ensure!(
            few.stderr.matches("no room for another").count() <= 8,
            "{few:?}"
        );
        if let Some(receiving) = receiving {
            receiving.finish()?.json(0)?;
        }
        folder.same("source", "new")?;
        drop(silent);
    }
    Ok(())
}
