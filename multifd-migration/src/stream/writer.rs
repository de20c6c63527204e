// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Writing one direction of the main connection, and knowing how far it has come.

use std::fmt;
use std::io;
use std::time::Duration;

use multifd_core::engine::Stall;
use multifd_core::memory::IoVec;
use multifd_core::transport::Transport;

use super::{Direction, Position, StreamError};

/// The sending end of a main connection: a transport, a buffer, and a count of bytes.
///
/// Nothing is sent before [`flush`](Self::flush) or a full buffer; what is buffered when the writer
/// is dropped is lost.
pub struct Writer {
    transport: Box<dyn Transport>,
    buffer: Vec<u8>,
    sent: u64,
    patience: Option<Patience>,
}

/// How long to wait for a peer that takes nothing.
struct Patience {
    stall: Stall,
    /// What the peer has taken elsewhere, in bytes: asked each time that the limit is over.
    taken: Box<dyn Fn() -> u64 + Send>,
    /// While this is so it may take nothing for longer.
    excused: Box<dyn Fn() -> bool + Send>,
}

impl Writer {
    /// A writer at the start of the stream.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            buffer: Vec::with_capacity(BUFFER_LEN),
            sent: 0,
            patience: None,
        }
    }

    /// Goes on waiting for a destination that has taken nothing for as long as `limit` only if the count of
    /// bytes that it has `taken` elsewhere moves. Without this, the transport decides.
    pub(crate) fn set_patience(
        &mut self,
        limit: Duration,
        taken: impl Fn() -> u64 + Send + 'static,
    ) {
        let stall = Stall::new(limit);
        self.transport.set_time_limit(Some(stall.tick()));
        self.patience = Some(Patience {
            stall,
            taken: Box::new(taken),
            excused: Box::new(|| false),
        });
    }

    /// From now on the destination may take nothing for longer while it is `excused`.
    pub(crate) fn set_excuse(&mut self, excused: impl Fn() -> bool + Send + 'static) {
        if let Some(patience) = &mut self.patience {
            patience.excused = Box::new(excused);
        }
    }

    /// How many bytes have been written, sent or not: the offset of the next one in the stream.
    pub fn offset(&self) -> u64 {
        self.sent.saturating_add(self.buffer.len() as u64)
    }

    /// The next byte's place.
    pub fn position(&self) -> Position {
        Position {
            direction: Direction::Main,
            offset: self.offset(),
        }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The transport's, if the buffer had to be sent.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        if self.buffer.len() + bytes.len() > BUFFER_LEN {
            self.flush()?;
        }
        if bytes.len() > BUFFER_LEN {
            self.send(bytes)
        } else {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        }
    }

    /// Sends what is buffered.
    ///
    /// # Errors
    /// The transport's.
    pub fn flush(&mut self) -> Result<(), StreamError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.send(&buffer);
        buffer.clear();
        self.buffer = buffer;
        result
    }

    /// The transport, for instance to limit how long it may block.
    pub fn transport_mut(&mut self) -> &mut dyn Transport {
        &mut *self.transport
    }

    /// Sends what is buffered and gives the transport back.
    ///
    /// # Errors
    /// The transport's.
    pub fn into_transport(mut self) -> Result<Box<dyn Transport>, StreamError> {
        self.flush()?;
        Ok(self.transport)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let at = Position {
            direction: Direction::Main,
            offset: self.sent,
        };
        let mut rest = bytes;
        while !rest.is_empty() {
            // Each piece that is taken is a sign of life.
            self.restart();
            let sent = match self.transport.send(&[IoVec::from(rest)]) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => self.wait_on(rest, error),
                result => result,
            };
            let sent = sent.map_err(|error| StreamError::Send { at, error })?;
            rest = rest.get(sent..).ok_or_else(|| {
                let what = format!("the transport sent {sent} bytes of {}", rest.len());
                let error = io::Error::other(what);
                StreamError::Send { at, error }
            })?;
        }
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn restart(&mut self) {
        if let Some(patience) = &mut self.patience {
            patience.stall.restart();
        }
    }

    /// Nothing was taken for a moment: tries again, as long as something is taken elsewhere.
    fn wait_on(&mut self, rest: &[u8], mut error: io::Error) -> io::Result<usize> {
        while error.kind() == io::ErrorKind::TimedOut {
            let Some(patience) = &mut self.patience else {
                return Err(error);
            };
            let is_stalled = patience.stall.left((patience.taken)()).is_none();
            if is_stalled && (patience.excused)() {
                patience.stall.restart();
            } else if is_stalled {
                let seconds = patience.stall.limit().as_secs_f32();
                let what = format!("the destination has read nothing for {seconds} s");
                return Err(io::Error::new(error.kind(), what));
            }
            match self.transport.send(&[IoVec::from(rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => return Ok(sent),
                Err(again) => error = again,
            }
        }
        Err(error)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("at", &self.position())
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// Bytes that are collected before they are sent. A zero page takes 9, a round over a large guest
/// with `zero-page-detection=legacy` millions of them.
const BUFFER_LEN: usize = 32 * 1024;
