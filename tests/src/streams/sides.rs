// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source and a destination of bytes.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};

/// What came or goes on the connections of a migration.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    /// On the main one.
    pub main: Vec<u8>,
    /// On the channels, in any order.
    pub channels: Vec<Vec<u8>>,
}

/// Sends the bytes to a destination that listens at `path`, and closes each connection behind its last byte. A
/// destination that does not want them all is no error.
///
/// # Errors
/// It cannot be connected to.
pub fn play(path: &Path, connections: &Connections) -> Result<()> {
    let bytes = std::iter::once(&connections.main).chain(&connections.channels);
    let senders: Result<Vec<JoinHandle<()>>> = bytes
        .map(|bytes| {
            let mut stream = UnixStream::connect(path)?;
            let bytes = bytes.clone();
            Ok(thread::spawn(move || {
                // It has been refused, which the destination tells.
                let _ = stream.write_all(&bytes);
            }))
        })
        .collect();
    for sender in senders? {
        sender.join().map_err(|_| anyhow!("a sender panicked"))?;
    }
    Ok(())
}

/// Takes all that a source without a return path sends.
#[derive(Debug)]
pub struct Destination {
    listener: UnixListener,
}

impl Destination {
    /// Listens.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(path: &Path) -> Result<Self> {
        Ok(Self {
            listener: UnixListener::bind(path)?,
        })
    }

    /// Takes the main connection and so many channels to their ends.
    ///
    /// # Errors
    /// The system's, and no main connection.
    pub fn take(self, channels: usize) -> Result<Connections> {
        let mut readers = Vec::new();
        for _ in 0..=channels {
            let (mut stream, _) = self.listener.accept()?;
            readers.push(thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).map(|_| bytes)
            }));
        }
        let mut taken = Connections::default();
        for reader in readers {
            let bytes = reader.join().map_err(|_| anyhow!("a reader panicked"))??;
            match bytes.starts_with(b"QEVM") {
                true => taken.main = bytes,
                false => taken.channels.push(bytes),
            }
        }
        Some(taken)
            .filter(|taken| !taken.main.is_empty())
            .context("no main connection")
    }
}
