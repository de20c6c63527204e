// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a terminal shows of a relay.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{Folder, guest, recv, run, start};

/// A command, killed on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All that is written to a terminal.
struct Terminal {
    pieces: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Terminal {
    /// With the end that a command writes to.
    fn open() -> Result<(Self, File)> {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let name = ptsname(&terminal, Vec::new())?;
        let end = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str()?)?;
        let (send, pieces) = mpsc::channel();
        thread::spawn(move || {
            let (mut terminal, mut piece) = (File::from(terminal), [0; 4096]);
            // An error is the end: nobody has the other end any more.
            while let Ok(count) = terminal.read(&mut piece) {
                let piece = piece.iter().copied().take(count);
                if send.send(piece.collect()).is_err() {
                    return;
                }
            }
        });
        let text = String::new();
        Ok((Self { pieces, text }, end))
    }

    /// Waits until this stands there.
    fn wait(&mut self, words: &str) -> Result<()> {
        while !self.text.contains(words) {
            let piece = self.pieces.recv_timeout(Duration::from_secs(60));
            let piece = piece.with_context(|| format!("no {words:?} in {:?}", self.text))?;
            self.text.push_str(&String::from_utf8_lossy(&piece));
        }
        Ok(())
    }
}

#[test]
fn each_migration_has_a_line_below_the_log() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(4000))?;
    let (control, socket) = (
        folder.text("control"),
        format!("unix:{}", folder.text("socket")),
    );
    let (_receiving, to) = recv(&socket, &["--ram", &folder.text("destination")])?;
    let (mut terminal, end) = Terminal::open()?;
    let mut relay = Command::new(env!("CARGO_BIN_EXE_multifd"));
    relay.args([
        "relay",
        "--keep-listening",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        &to,
    ]);
    relay.args(["--control", &control, "--out", "max-bandwidth=1"]);
    relay
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(end);
    let mut relaying = Killed(relay.spawn()?);
    // Its end of the terminal is the only one left.
    drop(relay);
    let stdout = relaying.0.stdout.take().context("no stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.trim_end().strip_prefix("listening on ");
    let address = address.with_context(|| format!("{line:?}"))?;
    let _sending = start(&["send", "--json", "--to", address, "--ram", &source])?;
    terminal.wait("migration 1: memory, ")?;
    terminal.wait("% of a first pass over 15.62 MiB")?;
    ensure!(run(&["cancel", "1", "--control", &control])?.code == Some(0));
    // The line is cleared before what is logged, and that has a line of its own.
    let logged = "cancelled by user ";
    terminal.wait(logged)?;
    let (before, _) = terminal.text.split_once(logged).context("it is there")?;
    let line = before.rfind(" multifd: ").context("no line of the log")?;
    let start = line.checked_sub("2026-11-28T09:00:00Z".len());
    let (above, _) = before.split_at(start.context("no time before it")?);
    ensure!(
        above.ends_with("\x1b[2K") || above.ends_with('\n'),
        "{above:?}"
    );
    Ok(())
}
