// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Somebody in the middle of a network who listens.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};

/// Passes the connections on that are made to its address, and keeps what the clients say.
#[derive(Debug)]
pub struct Wiretap {
    address: String,
    heard: Arc<Mutex<Vec<Listening>>>,
}

/// Answers what a client has said.
type Listening = JoinHandle<io::Result<Said>>;

/// What a client has said, and whether its end was a reset.
#[derive(Debug)]
struct Said {
    bytes: Vec<u8>,
    was_reset: bool,
}

impl Wiretap {
    /// Listens at 127.0.0.1; whoever connects reaches `to`, an address `tcp:HOST:PORT`.
    ///
    /// # Errors
    /// The system's.
    pub fn start(to: &str) -> Result<Self> {
        let to = to.strip_prefix("tcp:").context("wanted tcp:")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("tcp:{}", listener.local_addr()?);
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let connections = Arc::clone(&heard);
        // It ends with the process that tests.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else {
                    continue;
                };
                let thread = thread::spawn(move || pass_on(client, server));
                let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
                connections.push(thread);
            }
        });
        Ok(Self { address, heard })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What each client has said, once all connections are closed.
    ///
    /// # Errors
    /// A connection that broke.
    pub fn heard(&self) -> Result<Vec<Vec<u8>>> {
        let said = self.said()?.into_iter();
        Ok(said.map(|said| said.bytes).collect())
    }

    /// How many clients have reset their connections, once all are closed.
    ///
    /// # Errors
    /// As [`Self::heard`].
    pub fn resets(&self) -> Result<usize> {
        let said = self.said()?;
        Ok(said.iter().filter(|said| said.was_reset).count())
    }

    fn said(&self) -> Result<Vec<Said>> {
        let mut threads = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let said = threads.drain(..).map(|thread| {
            let said = thread.join().map_err(|_| anyhow!("a thread panicked"))?;
            Ok(said?)
        });
        said.collect()
    }
}

fn pass_on(client: TcpStream, server: TcpStream) -> io::Result<Said> {
    let (mut from, mut back_to) = (client.try_clone()?, client);
    let (mut to, mut back_from) = (server.try_clone()?, server);
    let back = thread::spawn(move || {
        // Who is gone hears nothing more.
        let _ = io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    let (mut heard, mut was_reset) = (Vec::new(), false);
    let mut room = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut room) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                was_reset = true;
                break;
            }
            read => read?,
        };
        let Some(said) = room.get(..count).filter(|said| !said.is_empty()) else {
            break;
        };
        heard.extend_from_slice(said);
        if to.write_all(said).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(Said {
        bytes: heard,
        was_reset,
    })
}
