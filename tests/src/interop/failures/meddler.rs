// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Somebody between source and destination who changes what the source says.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};

/// What is changed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Edit {
    /// Every channel says that it has this number.
    Channel(u8),
    /// The first such bytes on the main connection.
    Main(&'static [u8], &'static [u8]),
}

/// Listens where the source connects to, and passes everything on, both ways.
pub(super) struct Meddler {
    socket: PathBuf,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meddler {
    /// Listens at `socket` for a source of the destination at `to`.
    ///
    /// # Errors
    /// `to` is no unix socket; the system's.
    pub(super) fn start(socket: PathBuf, to: &str, edit: Edit) -> Result<Self> {
        let Some(to) = to.strip_prefix("unix:").map(PathBuf::from) else {
            bail!("{to} is no unix socket");
        };
        let listener = UnixListener::bind(&socket).with_context(|| socket.display().to_string())?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            for connection in listener.incoming() {
                if is_over.load(Ordering::Acquire) {
                    return;
                }
                // A connection that cannot be passed on is closed.
                let _ = connection.and_then(|source| join(source, &to, edit));
            }
        });
        Ok(Self {
            socket,
            over,
            thread: Some(thread),
        })
    }

    pub(super) fn uri(&self) -> String {
        format!("unix:{}", self.socket.display())
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread up.
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Starts what passes a connection on until either side closes it.
fn join(source: UnixStream, to: &Path, edit: Edit) -> io::Result<()> {
    let destination = UnixStream::connect(to)?;
    let (back, answers) = (source.try_clone()?, destination.try_clone()?);
    thread::spawn(move || copy(answers, back));
    thread::spawn(move || {
        let (mut source, mut destination) = (source, destination);
        let head = head(&mut source, edit);
        if head.and_then(|head| destination.write_all(&head)).is_ok() {
            copy(source, destination);
        }
    });
    Ok(())
}

fn copy(mut from: UnixStream, mut to: UnixStream) {
    let _ = io::copy(&mut from, &mut to);
    // Whoever reads the other end learns that no more comes.
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

/// The first bytes, changed.
fn head(source: &mut UnixStream, edit: Edit) -> io::Result<Vec<u8>> {
    let mut head = vec![0; MAGIC_LEN];
    source.read_exact(&mut head)?;
    match (head == *b"QEVM", edit) {
        (false, Edit::Channel(number)) => {
            head.resize(INIT_LEN, 0);
            source.read_exact(head.get_mut(MAGIC_LEN..).unwrap_or_default())?;
            if let Some(channel) = head.get_mut(CHANNEL_OFFSET) {
                *channel = number;
            }
        }
        (true, Edit::Main(old, new)) => {
            let at = loop {
                if let Some(at) = head.windows(old.len()).position(|part| part == old) {
                    break at;
                }
                let mut more = [0; 4096];
                match source.read(&mut more)? {
                    0 => return Ok(head),
                    count => head.extend(more.iter().take(count)),
                }
            };
            head.splice(at..at + old.len(), new.iter().copied());
        }
        _ => {}
    }
    Ok(head)
}

const MAGIC_LEN: usize = 4;
/// Of a multifd channel's initial packet.
const INIT_LEN: usize = 64;
const CHANNEL_OFFSET: usize = 24;
