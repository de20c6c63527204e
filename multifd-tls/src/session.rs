// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A session as a transport.

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};
use parking_lot::Mutex;
use rustls::Connection;

use crate::TlsError;
use crate::staged::Staged;

/// One handle of a session. Several may be used at once, for the one direction and the other: no lock is held by both
/// directions while the network is waited for.
pub(crate) struct TlsTransport {
    session: Arc<Session>,
    transport: Box<dyn Transport>,
    /// Of a call.
    limit: Option<Duration>,
}

struct Session {
    /// Taken last, and held only while something is encrypted or decrypted.
    connection: Mutex<Connection>,
    reading: Mutex<Staged>,
    writing: Mutex<Writing>,
}

struct Writing {
    /// What is to be encrypted. Guest memory may change meanwhile, this cannot.
    plain: Vec<u8>,
    /// Encrypted, and to be sent before anything else.
    cipher: Vec<u8>,
    sent: usize,
}

impl TlsTransport {
    /// `staged` is what came behind the handshake.
    pub(crate) fn new(
        mut connection: Connection,
        transport: Box<dyn Transport>,
        staged: Staged,
    ) -> Self {
        // What is encrypted is taken at once.
        connection.set_buffer_limit(None);
        let session = Session {
            connection: Mutex::new(connection),
            reading: Mutex::new(staged),
            writing: Mutex::new(Writing {
                plain: Vec::new(),
                cipher: Vec::new(),
                sent: 0,
            }),
        };
        Self {
            session: Arc::new(session),
            transport,
            limit: None,
        }
    }
}

impl Transport for TlsTransport {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        let mut writing = self.session.writing.lock();
        if let Err(error) = writing.flush(&mut *self.transport) {
            drop(writing);
            return Err(self.explain(error));
        }
        let taken = writing.gather(bytes);
        if taken > 0 {
            writing.encrypt(&self.session.connection, false)?;
            // What is left is sent first of all by the next call, which meets what has failed here.
            let _ = writing.flush(&mut *self.transport);
        }
        Ok(taken)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        if room.iter().all(IoVecMut::is_empty) {
            return Ok(0);
        }
        let mut staged = self.session.reading.lock();
        let start = self.limit.map(|limit| (Instant::now(), limit));
        let mut is_first = true;
        loop {
            if let Some(taken) = decrypt(&mut self.session.connection.lock(), &mut staged, room)? {
                return Ok(taken);
            }
            // What is part of the session and no data, such as new keys, gains a peer no time.
            let left = start.map(|(start, limit)| limit.saturating_sub(start.elapsed()));
            if !is_first && left.is_some_and(|left| left.is_zero()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.transport.set_time_limit(left);
            let filled = staged.fill(&mut *self.transport);
            self.transport.set_time_limit(self.limit);
            if !filled? {
                // Whether it is the end is known one level above: a QEMU closes its main connection without a word.
                return Ok(0);
            }
            is_first = false;
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.transport.interrupter()
    }

    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Self {
            session: Arc::clone(&self.session),
            transport: self.transport.duplicate()?,
            limit: None,
        }))
    }

    fn resume(&mut self) {
        self.transport.resume();
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
        self.transport.set_time_limit(limit);
    }

    fn has_ended(&self) -> bool {
        self.transport.has_ended()
    }

    fn set_lingering(&mut self, lingers: bool) {
        self.transport.set_lingering(lingers);
    }

    fn waited(&self) -> Duration {
        self.transport.waited()
    }

    fn finish(&mut self) -> io::Result<()> {
        let mut writing = self.session.writing.lock();
        writing.flush(&mut *self.transport)?;
        writing.plain.clear();
        writing.encrypt(&self.session.connection, true)?;
        writing.flush(&mut *self.transport)
    }
}

impl TlsTransport {
    /// Why the peer has closed the connection, if it has said so: with TLS 1.3 a source learns only behind its handshake
    /// that its certificate is not taken, and nobody reads on a channel.
    fn explain(&mut self, error: io::Error) -> io::Error {
        use io::ErrorKind::{BrokenPipe, ConnectionReset};
        // Where another thread reads, that one finds it.
        let Some(mut staged) = self.session.reading.try_lock() else {
            return error;
        };
        if !matches!(error.kind(), BrokenPipe | ConnectionReset) {
            return error;
        }
        self.transport.set_time_limit(Some(Duration::ZERO));
        while !staged.is_empty() || staged.fill(&mut *self.transport).unwrap_or(false) {
            let mut connection = self.session.connection.lock();
            // What it said besides is left to whoever receives.
            if !matches!(connection.read_tls(&mut *staged), Ok(1..)) {
                break;
            }
            if let Err(why) = connection.process_new_packets() {
                return TlsError::from(why).into();
            }
        }
        error
    }
}

impl Writing {
    /// Takes as much as a few records have room for.
    fn gather(&mut self, bytes: &[IoVec<'_>]) -> usize {
        let all: usize = bytes.iter().map(IoVec::len).sum();
        self.plain.resize(all.min(MOST_PLAIN), 0);
        let mut filled = 0;
        for vec in bytes {
            let room = self.plain.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                break;
            }
            filled += vec.copy_to(room);
        }
        filled
    }

    /// Encrypts what has been gathered, and with it what rustls has to say; at the end also that it is the end.
    fn encrypt(&mut self, connection: &Mutex<Connection>, end: bool) -> io::Result<()> {
        let mut connection = connection.lock();
        let written = connection.writer().write_all(&self.plain);
        written.map_err(TlsError::in_words)?;
        if end {
            connection.send_close_notify();
        }
        take_outgoing(&mut connection, &mut self.cipher)
    }

    fn flush(&mut self, transport: &mut dyn Transport) -> io::Result<()> {
        while let Some(left) = self.cipher.get(self.sent..).filter(|left| !left.is_empty()) {
            match transport.send(&[IoVec::from(left)])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => self.sent += sent,
            }
        }
        self.cipher.clear();
        self.sent = 0;
        Ok(())
    }
}

/// Appends to `bytes` all that rustls has to send.
pub(crate) fn take_outgoing(connection: &mut Connection, bytes: &mut Vec<u8>) -> io::Result<()> {
    while connection.wants_write() {
        connection.write_tls(bytes)?;
    }
    Ok(())
}

/// Decrypts what is staged until there is something for `room`; returns how much, 0 once the peer has said that it
/// sends no more, and `None` if more has to come.
fn decrypt(
    connection: &mut Connection,
    staged: &mut Staged,
    room: &mut [IoVecMut<'_>],
) -> io::Result<Option<usize>> {
    loop {
        let mut reader = connection.reader();
        match reader.fill_buf() {
            Ok(bytes) => {
                let taken = scatter(bytes, room);
                reader.consume(taken);
                return Ok(Some(taken));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(TlsError::in_words(error)),
        }
        if staged.is_empty() {
            return Ok(None);
        }
        connection.read_tls(staged)?;
        connection.process_new_packets().map_err(TlsError::from)?;
    }
}

/// Copies the front of `bytes` to the front of `room`; returns how much.
fn scatter(bytes: &[u8], room: &mut [IoVecMut<'_>]) -> usize {
    let mut taken = 0;
    for vec in room {
        let left = bytes.get(taken..).unwrap_or_default();
        if left.is_empty() {
            break;
        }
        taken += vec.copy_from(left);
    }
    taken
}

/// As much is encrypted at once: eight full records, which stay in the processor's cache. Half of it takes the
/// sender a seventh more time; twice as much took more, too.
const MOST_PLAIN: usize = 128 << 10;
