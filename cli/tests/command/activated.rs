// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sockets that somebody else has opened, as systemd does.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use multifd_tests::command::Running;
use rustix::process::Signal;

use crate::harness::{Folder, guest, recv, run, send};

/// Opens sockets, of which each is `NAME=ADDRESS`, and becomes the command with these as descriptors from 3 on.
const OPEN: &str = r#"
import os, socket, sys
sockets, command = sys.argv[1].split(), sys.argv[2:]
names = []
for at, text in enumerate(sockets):
    name, address = text.split("=", 1)
    kind, address = address.split(":", 1)
    if kind == "unix":
        opened = socket.socket(socket.AF_UNIX)
        opened.bind(address)
    elif kind == "udp":
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind(("127.0.0.1", 0))
    else:
        opened = socket.socket()
        host, port = address.split(":")
        opened.bind((host, int(port)))
    if kind in ("unix", "tcp"):
        opened.listen()
    os.dup2(opened.fileno(), 100 + at)
    names.append(name)
for at in range(len(sockets)):
    os.dup2(100 + at, 3 + at)
    os.close(100 + at)
os.environ["LISTEN_FDS"] = str(len(sockets))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.environ["LISTEN_PID"] = os.environ.get("PRETEND_PID", str(os.getpid()))
os.execv(command[0], command)
"#;

/// Starts a relay with these sockets, and these arguments.
fn start(sockets: &str, args: &[&str]) -> Result<Running> {
    let mut command = opening(sockets);
    Running::start(command.args(["relay", "--json", "--quiet"]).args(args))
}

fn opening(sockets: &str) -> Command {
    let mut command = Command::new("python3");
    let multifd = env!("CARGO_BIN_EXE_multifd");
    command.args(["-c", OPEN, sockets, multifd]);
    command
}

#[test]
fn a_source_connects_to_a_socket_that_was_there() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    for (at, listens) in ["tcp:127.0.0.1:0", &format!("unix:{}", folder.text("from"))]
        .into_iter()
        .enumerate()
    {
        let (to, new) = (folder.text(&format!("to{at}")), format!("new{at}"));
        let (receiving, to) = recv(&format!("unix:{to}"), &["--ram", &folder.text(&new)])?;
        let mut relaying = start(&format!("here={listens}"), &["--to", &to])?;
        let named = relaying.wait_line("is socket 0 of the service manager (here)")?;
        let address = relaying.wait_address()?;
        ensure!(named.contains(&address), "{named}");
        send(&address, &["--ram", &source])?.json(0)?;
        let result = relaying.finish()?.json(0)?;
        assert_eq!(result["in"]["socket-address"], address);
        receiving.finish()?.json(0)?;
        folder.same("source", &new)?;
    }
    // Whoever has made it removes it.
    ensure!(folder.exists("from"), "{:?}", folder.names()?);
    Ok(())
}

#[test]
fn a_destination_takes_them_as_well() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let unix = format!("unix:{}", folder.text("passed"));
    let own = format!("unix:{}", folder.text("own"));
    for (round, (listen, via)) in [
        (&[][..], 0),
        (&["--listen", &own], 0),
        (&["--listen", &own], 1),
    ]
    .into_iter()
    .enumerate()
    {
        let kept = format!("kept{round}");
        let _ = std::fs::remove_file(folder.path("passed"));
        let mut command = opening(&format!("here={unix}"));
        command.args(["recv", "--json", "--quiet", "--save", &folder.text(&kept)]);
        let mut receiving = Running::start(command.args(listen))?;
        let addresses = (0..1 + listen.len() / 2).map(|_| receiving.wait_address());
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        assert_eq!(addresses[via], if via == 0 { &*unix } else { &*own });
        send(&addresses[via], &["--ram", &source])?.json(0)?;
        let result = receiving.finish()?.json(0)?;
        assert_eq!(result["socket-address"], addresses.join(", "));
        folder.same("source", &format!("{kept}/ram/00-ram"))?;
    }
    Ok(())
}

#[test]
fn several_sockets_and_an_address_are_listened_on() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let to = format!("unix:{}", folder.text("to"));
    let unix = format!("unix:{}", folder.text("passed"));
    let own = format!("unix:{}", folder.text("own"));
    let sockets = format!("one=tcp:127.0.0.1:0 two={unix}");
    // The address of a socket that is there already is no second one.
    for (round, listen) in [&own, &unix].into_iter().enumerate() {
        std::fs::remove_file(folder.path("passed")).unwrap_or_default();
        let args = ["--keep-listening", "--listen", listen, "--to", &to];
        let mut relaying = start(&sockets, &args)?;
        let count = if listen == &own { 3 } else { 2 };
        let addresses = (0..count).map(|_| relaying.wait_address());
        let addresses = addresses.collect::<Result<Vec<_>>>()?;
        ensure!(addresses.contains(listen), "{addresses:?}");
        for (at, address) in addresses.iter().enumerate() {
            let new = format!("new{round}{at}");
            let (receiving, _) = recv(&to, &["--ram", &folder.text(&new)])?;
            send(address, &["--ram", &source])?.json(0)?;
            receiving.finish()?.json(0)?;
            folder.same("source", &new)?;
        }
        relaying.signal(Signal::TERM)?;
        let ended = relaying.finish()?;
        ensure!(ended.code == Some(0), "{ended:#?}");
        ensure!(ended.stdout.lines().count() == count, "{ended:#?}");
        ensure!(!folder.exists("own"));
    }
    Ok(())
}

#[test]
fn who_may_connect_is_said_for_each_kind_of_socket() -> Result<()> {
    let folder = Folder::new()?;
    let both = format!("a=tcp:127.0.0.1:0 b=unix:{}", folder.text("from"));
    let args = ["--to", "unix:/nowhere", "--allow", "127.0.0.1"];
    let refused = start(&both, &args)?.finish()?;
    refused.failed(&[2], &["--allow with a unix socket", "--allow-uid UID"])
}

#[test]
fn what_is_no_socket_of_sources_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    let to = format!("unix:{}", folder.text("to"));
    let to_itself = format!("loop={to}");
    for (sockets, words) in [
        (
            "log=udp:",
            "socket 0 of the service manager (log) cannot be used: it is neither",
        ),
        (
            "mute=silent:127.0.0.1:0",
            "(mute) cannot be used: it does not listen",
        ),
        (&to_itself, "it would connect to itself"),
    ] {
        let ended = start(sockets, &["--to", &to])?.finish()?;
        ended.failed(&[2], &[words])?;
    }
    Ok(())
}

#[test]
fn without_an_address_and_a_socket_there_is_nothing_to_listen_on() -> Result<()> {
    let words = ["nothing to listen on", "--listen ADDRESS"];
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_multifd")));
    let alone = Running::start(command.args(["relay", "--to", "unix:/nowhere"]))?;
    alone.finish()?.failed(&[2], &words)?;
    // Sockets of the process that has started this one are not its own.
    let mut command = opening("parents=tcp:127.0.0.1:0");
    command.args(["relay", "--to", "unix:/nowhere"]);
    let child = Running::start(command.env("PRETEND_PID", "1"))?;
    child.finish()?.failed(&[2], &words)?;
    let words = ["nothing to listen on", "--listen ADDRESS"];
    let folder = Folder::new()?;
    let alone = run(&["recv", "--ram", &folder.text("new")])?;
    alone.failed(&[2], &words)
}
