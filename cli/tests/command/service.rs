// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay that is left running: what signals do to it.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::Authority;
use multifd_tests::command::Running;
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::harness::{Folder, guest, recv, relay, send, start};

/// A guest that goes through a relay and takes its time: source, relay and destination.
fn slow(folder: &Folder, args: &[&str], bandwidth: &str) -> Result<(Running, Running, Running)> {
    let source = folder.write("source", &guest(512))?;
    let socket = format!("unix:{}", folder.text("socket"));
    let (receiving, to) = recv(&socket, &["--ram", &folder.text("destination")])?;
    let args = [&["--keep-listening"], args].concat();
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", &to, &args)?;
    let send = ["send", "--json", "--to", &address, "--ram", &source];
    let sending = start(&[&send[..], &["--max-bandwidth", bandwidth]].concat())?;
    relaying.wait_line("migration 1")?;
    folder.wait_for_memory("destination.partial")?;
    Ok((sending, relaying, receiving))
}

#[test]
fn idle_it_ends_at_once() -> Result<()> {
    for signal in [Signal::INT, Signal::TERM] {
        let (relaying, _) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &["--keep-listening"])?;
        relaying.signal(signal)?;
        let ended = relaying.finish()?;
        ensure!(
            ended.code == Some(0) && ended.stdout.is_empty(),
            "{ended:#?}"
        );
    }
    Ok(())
}

#[test]
fn what_is_under_way_arrives_first() -> Result<()> {
    let folder = Folder::new()?;
    let (sending, mut relaying, receiving) = slow(&folder, &["--grace", "60"], "1M")?;
    relaying.signal(Signal::TERM)?;
    relaying.wait_line("takes no more migrations; 1 under way may go on for 60 s")?;
    sending.finish()?.json(0)?;
    receiving.finish()?.json(0)?;
    let ended = relaying.finish()?.json(0)?;
    assert_eq!(ended["status"], "completed");
    folder.same("source", "destination")
}

#[test]
fn what_takes_longer_is_cancelled() -> Result<()> {
    for grace in ["0.5", "1000"] {
        let folder = Folder::new()?;
        let (sending, mut relaying, receiving) = slow(&folder, &["--grace", grace], "64K")?;
        relaying.signal(Signal::TERM)?;
        relaying.wait_line("takes no more migrations")?;
        if grace == "1000" {
            relaying.signal(Signal::TERM)?;
        }
        sending.finish()?.failed(&[3, 4], &["multifd: source"])?;
        receiving.finish()?.failed(&[3, 4], &[])?;
        let ended = relaying.finish()?;
        let result = ended.json(0)?;
        assert_eq!(
            (&result["status"], &result["migration"]),
            (&"cancelled".into(), &1.into())
        );
    }
    Ok(())
}

#[test]
fn the_likely_reason_comes_first() -> Result<()> {
    let folder = Folder::new()?;
    let (mut sending, mut relaying, receiving) = slow(&folder, &[], "64K")?;
    sending.kill()?;
    let said = relaying.wait_line("relay, source side: ")?;
    // Which connection is seen first is the system's choice.
    let is_reason = |said: &str, side: &str| {
        let reasons = ["the source ended or cancelled", "the source closed the"];
        let mut reasons = reasons.iter().map(|reason| format!("{side}: {reason}"));
        reasons.any(|reason| said.contains(&reason))
    };
    ensure!(is_reason(&said, "relay, source side"), "{said}");
    let ended = receiving.finish()?;
    ensure!(
        is_reason(&ended.stderr, "multifd: destination"),
        "{ended:#?}"
    );
    Ok(())
}

#[test]
fn a_client_with_tls_is_told_apart() -> Result<()> {
    let folder = Folder::new()?;
    let authority = Authority::new("one")?;
    let source = folder.write("source", &guest(8))?;
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &["--keep-listening"])?;
    let tls = authority.host("127.0.0.1")?;
    send(&address, &["--ram", &source, "--tls-dir", &tls.text()])?.failed(&[4], &["TLS"])?;
    let said = relaying.wait_line("a connection of 127.0.0.1 was closed")?;
    ensure!(
        said.contains("a TLS client, and TLS is off here: --in tls-creds=DIR"),
        "{said}"
    );
    Ok(())
}

#[test]
fn certificates_are_read_again() -> Result<()> {
    let (old, new) = (Authority::new("old")?, Authority::new("new")?);
    let (before, after) = (old.host("127.0.0.1")?, new.host("127.0.0.1")?);
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(8))?;
    let link = folder.path("credentials");
    std::os::unix::fs::symlink(before.path(), &link)?;
    let creds = format!("tls-creds={}", link.display());
    let socket = format!("unix:{}", folder.text("socket"));
    let args = ["--keep-listening", "--in", &creds];
    let (mut relaying, address) = relay("tcp:127.0.0.1:0", &socket, &args)?;
    let go = |name: &str, credentials: &str| {
        let (receiving, _) = recv(&socket, &["--ram", &folder.text(name)])?;
        let tls = ["--ram", &source, "--tls-dir", credentials];
        send(&address, &tls)?.json(0)?;
        receiving.finish()?.json(0)
    };
    go("one", &before.text())?;
    std::fs::remove_file(&link)?;
    relaying.signal(Signal::HUP)?;
    relaying.wait_line("the certificates stay as they were")?;
    go("two", &before.text())?;
    std::os::unix::fs::symlink(after.path(), &link)?;
    relaying.signal(Signal::HUP)?;
    relaying.wait_line("the certificates have been read again")?;
    go("three", &after.text())?;
    for name in ["one", "two", "three"] {
        folder.same("source", name)?;
    }
    Ok(())
}

#[test]
fn it_does_not_connect_to_itself() -> Result<()> {
    let at = "tcp:127.0.0.1:4444";
    let refused = crate::harness::run(&["relay", "--listen", at, "--to", at])?;
    refused.failed(&[2], &["it would connect to itself"])
}

/// What a service manager hears.
struct Manager(UnixDatagram);

impl Manager {
    fn wait(&self, wanted: &str) -> Result<()> {
        let Self(socket) = self;
        let (start, mut text) = (Instant::now(), String::new());
        while !text.lines().any(|line| line == wanted) {
            // It says that it lives, whatever else it does.
            ensure!(start.elapsed() < PATIENCE, "no {wanted}, but {text:?}");
            let mut bytes = [0; 500];
            let count = socket
                .recv(&mut bytes)
                .with_context(|| format!("no {wanted}"))?;
            text = String::from_utf8_lossy(bytes.get(..count).context("a datagram")?).into_owned();
        }
        Ok(())
    }
}

/// A relay of a service manager's, and where it listens.
fn managed(folder: &Folder, to: &str) -> Result<(Manager, Running, String)> {
    let socket = UnixDatagram::bind(folder.path("notify"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let command = env!("CARGO_BIN_EXE_multifd");
    let relay = [
        "relay",
        "--keep-listening",
        "--json",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        to,
    ];
    let mut relaying = Running::start(
        Command::new(command)
            .args(relay)
            .env("NOTIFY_SOCKET", folder.path("notify"))
            .env("WATCHDOG_USEC", "200000"),
    )?;
    let address = relaying.wait_address()?;
    Ok((Manager(socket), relaying, address))
}

#[test]
fn a_guest_for_which_there_is_no_thread_has_failed() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(8))?;
    let socket = format!("unix:{}", folder.text("socket"));
    let (manager, mut relaying, address) = managed(&folder, &socket)?;
    manager.wait("READY=1")?;
    // Room for what is small, and not for a thread's stack.
    let pid = Pid::from_raw(i32::try_from(relaying.id())?);
    let status = std::fs::read_to_string(format!("/proc/{}/status", relaying.id()))?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let size = size.context("no VmSize")?.trim().trim_end_matches(" kB");
    let full = Rlimit {
        current: Some(size.parse::<u64>()? * 1024 + (1 << 20)),
        maximum: None,
    };
    let before = prlimit(pid, Resource::As, full)?;
    send(&address, &["--ram", &source])?.failed(&[3, 4], &[])?;
    let result: serde_json::Value = serde_json::from_str(&relaying.wait_result()?)?;
    let error = result["error-desc"].to_string();
    ensure!(error.contains("no thread could be started"), "{result:#}");
    assert_eq!(
        (
            &result["status"],
            &result["migration"],
            &result["exit-code"]
        ),
        (&"failed".into(), &1.into(), &1.into())
    );
    manager.wait("STATUS=0 migrations under way; 0 have arrived, 1 have failed")?;
    prlimit(pid, Resource::As, before)?;
    let (receiving, _) = recv(&socket, &["--ram", &folder.text("destination")])?;
    send(&address, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    manager.wait("STATUS=0 migrations under way; 1 have arrived, 1 have failed")
}

#[test]
fn systemd_is_told_what_it_does() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(8))?;
    let socket = format!("unix:{}", folder.text("socket"));
    let (manager, relaying, address) = managed(&folder, &socket)?;
    let wait = |wanted: &str| manager.wait(wanted);
    wait("READY=1")?;
    wait("WATCHDOG=1")?;
    relaying.signal(Signal::HUP)?;
    wait("RELOADING=1")?;
    wait("READY=1")?;
    let (receiving, _) = recv(&socket, &["--ram", &folder.text("destination")])?;
    send(&address, &["--ram", &source])?.json(0)?;
    receiving.finish()?.json(0)?;
    wait("STATUS=0 migrations under way; 1 have arrived, 0 have failed")?;
    relaying.signal(Signal::TERM)?;
    wait("STOPPING=1")?;
    ensure!(relaying.finish()?.code == Some(0));
    Ok(())
}

/// More than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
