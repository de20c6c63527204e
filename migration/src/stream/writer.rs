//! Writing one direction of the main connection, and knowing how far it has come.

use std::fmt;

use multifd_core::memory::IoVec;
use multifd_core::transport::{self, Transport};

use super::reader::len_u64;
use super::{Direction, Position, StreamError};

/// The sending end of a main connection: a transport, a buffer, and a count of bytes.
///
/// Nothing is sent before [`flush`](Self::flush) or a full buffer; what is buffered when the writer
/// is dropped is lost.
pub struct Writer {
    transport: Box<dyn Transport>,
    buffer: Vec<u8>,
    sent: u64,
}

impl Writer {
    /// A writer at the start of the stream.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport,
            buffer: Vec::with_capacity(BUFFER_LEN),
            sent: 0,
        }
    }

    /// How many bytes have been written, sent or not: the offset of the next one in the stream.
    pub fn offset(&self) -> u64 {
        self.sent.saturating_add(len_u64(&self.buffer))
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
        transport::send_all(&mut *self.transport, &mut [IoVec::from(bytes)])
            .map_err(|error| StreamError::Send { at, error })?;
        self.sent = self.sent.saturating_add(len_u64(bytes));
        Ok(())
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
