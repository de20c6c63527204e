// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest comes over TLS while others connect without end, and never shake hands.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use multifd_tests::certificates::Authority;
use multifd_tests::command::Running;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::harness::{Folder, guest, recv, relay, send};
use crate::strangers::TLS;

/// How many are there before the source comes: 1000, or as the environment variable `MULTIFD_CROWD` says.
pub(crate) fn crowd() -> Result<usize> {
    match std::env::var("MULTIFD_CROWD") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{text:?}, wanted a number")),
        Err(_) => Ok(1000),
    }
}

/// How many connections this process may have at once, beside other tests.
pub(crate) fn most_connections() -> Result<usize> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let most = usize::try_from(limit.current.unwrap_or(u64::MAX))?;
    Ok(most.saturating_sub(OTHERS).max(1))
}

/// As many connections as this process may have at once.
struct Flood<'a> {
    address: &'a str,
    come: usize,
    open: Vec<TcpStream>,
    most: usize,
}

impl<'a> Flood<'a> {
    fn new(address: &'a str) -> Result<Self> {
        Ok(Self {
            address: address.trim_start_matches("tcp:"),
            come: 0,
            open: Vec::new(),
            most: most_connections()?,
        })
    }

    /// One more, which stays. Every other one begins a handshake.
    fn come(&mut self) -> Result<()> {
        if self.open.len() == self.most {
            self.open.remove(0);
        }
        let mut stranger = TcpStream::connect(self.address)?;
        if self.come.is_multiple_of(2) {
            stranger.write_all(TLS)?;
        }
        self.open.push(stranger);
        self.come += 1;
        Ok(())
    }

    /// They go on coming while `body` runs, and not so fast that a busy machine shakes no hands before the next 320.
    fn goes_on(mut self, body: impl FnOnce() -> Result<()>) -> Result<()> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    // Nobody may listen any more.
                    let _ = self.come();
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let result = body();
            is_over.store(true, Ordering::Relaxed);
            let flooded = flooding.join();
            flooded.map_err(|_| anyhow!("the flood panicked"))?;
            result
        })
    }
}

/// A guest is sent to `address`, where `listening` listens and says how many `strangers` there were.
fn comes_through(
    (listening, address, strangers): (&mut Running, &str, &str),
    send_args: &[&str],
) -> Result<()> {
    let crowd = crowd()?;
    let mut flood = Flood::new(address)?;
    for _ in 0..crowd {
        flood.come()?;
    }
    // Every second, fourth, eighth and so on is named.
    let closed = 1 << (crowd - PLACES).ilog2();
    let line = listening.wait_line(&format!("({closed} {strangers}"))?;
    ensure!(line.contains("when too many others came"), "{line}");
    flood.goes_on(|| {
        send(address, send_args)?.json(0)?;
        Ok(())
    })
}

#[test]
fn a_guest_comes_to_a_destination() -> Result<()> {
    let credentials = Authority::new("authority")?.host("127.0.0.1")?;
    let dir = credentials.text();
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(70))?;
    let args = ["--ram", &folder.text("new"), "--tls-dir", &dir];
    let (mut receiving, to) = recv("tcp:127.0.0.1:0", &args)?;
    let destination = (&mut receiving, &*to, "so far)");
    comes_through(destination, &["--ram", &source, "--tls-dir", &dir])?;
    receiving.finish()?.json(0)?;
    folder.same("source", "new")
}

#[test]
fn a_guest_comes_to_a_relay() -> Result<()> {
    let credentials = Authority::new("authority")?.host("127.0.0.1")?;
    let dir = credentials.text();
    let creds = format!("tls-creds={dir}");
    for (args, strangers) in [
        (&[][..], "so far)"),
        (&["--keep-listening"], "of no migration so far)"),
    ] {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(70))?;
        let from = format!("unix:{}", folder.text("socket"));
        let (receiving, to) = recv(&from, &["--ram", &folder.text("new")])?;
        let args = [&["--in", &creds], args].concat();
        let (mut relaying, address) = relay("tcp:127.0.0.1:0", &to, &args)?;
        let there = (&mut relaying, &*address, strangers);
        comes_through(there, &["--ram", &source, "--tls-dir", &dir])?;
        receiving.finish()?.json(0)?;
        folder.same("source", "new")?;
        if args.contains(&"--keep-listening") {
            relaying.signal(Signal::TERM)?;
        }
        let ended = relaying.finish()?;
        ensure!(ended.code == Some(0), "{ended:#?}");
    }
    Ok(())
}

/// Connections that have not said yet what they are, at most.
const PLACES: usize = 320;
/// Files and connections of this process that are not the flood's.
const OTHERS: usize = 512;
