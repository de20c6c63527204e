// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Runs the command, with memory to move.

use std::net::{SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use multifd_tests::command::{Finished, Running};

/// Every method that the command has.
pub(crate) const METHODS: [&str; 6] = ["none", "zlib", "zstd", "qatzip", "qpl", "uadk"];

pub(crate) const PAGE: usize = 4096;

/// Starts the command.
pub(crate) fn start(args: &[&str]) -> Result<Running> {
    Running::start(Command::new(env!("CARGO_BIN_EXE_multifd")).args(args))
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str]) -> Result<Finished> {
    start(args)?.finish()
}

/// Starts a destination, with `--json`, and answers where it listens.
pub(crate) fn recv(from: &str, args: &[&str]) -> Result<(Running, String)> {
    let mut all = vec!["recv", "--json", "--listen", from];
    all.extend(args);
    let mut running = start(&all)?;
    let address = running.wait_address()?;
    Ok((running, address))
}

/// Starts a relay, with `--json`, and answers where it listens.
pub(crate) fn relay(listen: &str, to: &str, args: &[&str]) -> Result<(Running, String)> {
    let relay = ["relay", "--json", "--quiet", "--listen", listen, "--to", to];
    let mut running = start(&[&relay[..], args].concat())?;
    let address = running.wait_address()?;
    Ok((running, address))
}

/// Runs a source to its end, with `--json`.
pub(crate) fn send(to: &str, args: &[&str]) -> Result<Finished> {
    let mut all = vec!["send", "--json", "--to", to];
    all.extend(args);
    run(&all)
}

/// A connection from another address of this host, 127.0.0.2, to where a command listens.
pub(crate) fn connect_from_elsewhere(address: &str) -> Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let from: SocketAddrV4 = "127.0.0.2:0".parse()?;
    bind(&socket, &from)?;
    let to: SocketAddrV4 = address.trim_start_matches("tcp:").parse()?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

/// A folder for one test.
#[derive(Debug)]
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path as an argument.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<String> {
        std::fs::write(self.path(name), content)?;
        Ok(self.text(name))
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let names = std::fs::read_dir(self.0.path())?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<_> = names.collect::<std::io::Result<_>>()?;
        names.sort();
        Ok(names)
    }

    pub(crate) fn same(&self, one: &str, other: &str) -> Result<()> {
        let (one, other) = (
            std::fs::read(self.path(one))?,
            std::fs::read(self.path(other))?,
        );
        ensure!(
            one == other,
            "{} bytes differ from {}",
            one.len(),
            other.len()
        );
        Ok(())
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        Path::exists(&self.path(name))
    }

    /// Waits until a destination knows how long the memory in a file will be: the migration has begun.
    pub(crate) fn wait_for_memory(&self, name: &str) -> Result<()> {
        let start = Instant::now();
        while self.path(name).metadata().map_or(0, |file| file.len()) == 0 {
            ensure!(start.elapsed() < PATIENCE, "no {name}: {:?}", self.names());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Memory of a guest: text, zero pages, and what no method can compress, in turns.
pub(crate) fn guest(pages: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut memory = Vec::with_capacity(pages * PAGE);
    for page in 0..pages {
        match page % 7 {
            0 | 1 => memory.extend(std::iter::repeat_n(0, PAGE)),
            2..=4 => {
                let line = format!("page {page} of a guest that has something to say. ");
                memory.extend(line.bytes().cycle().take(PAGE));
            }
            _ => memory.extend(noise(&mut state, PAGE)),
        }
    }
    memory
}

/// Bytes that no method can compress.
pub(crate) fn noise(state: &mut u64, len: usize) -> Vec<u8> {
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        // Xorshift: good enough for that.
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

/// More than any run takes on a busy machine. What is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);
