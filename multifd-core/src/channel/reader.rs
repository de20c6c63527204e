//! Reading headers and payloads from a connection.

use std::io;

use crate::memory::IoVecMut;
use crate::pages::PayloadSource;
use crate::transport::{Transport, recv_all};

/// Reads a header in one call whatever its kind, without knowing its length beforehand: what is
/// read too much is the start of the payload, and is kept for it.
pub(super) struct PacketReader<'t> {
    transport: &'t mut dyn Transport,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<'t> PacketReader<'t> {
    /// A reader for headers of up to `header_len` bytes.
    pub(super) fn new(transport: &'t mut dyn Transport, header_len: usize) -> Self {
        Self {
            transport,
            buffer: vec![0; header_len],
            start: 0,
            end: 0,
        }
    }

    /// The next `len` bytes, which stay unread; `None` if the stream ends before the first of
    /// them. Between packets only.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<Option<&[u8]>> {
        if self.start + len > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < len {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let received = self.transport.recv(&mut [room.into()]);
            match received {
                Ok(0) if self.start == self.end => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => self.end += received,
                Err(error) => return Err(error),
            }
        }
        Ok(self.buffer.get(self.start..self.start + len))
    }

    /// Takes bytes that have been peeked.
    pub(super) fn consume(&mut self, len: usize) {
        self.start = self.end.min(self.start + len);
    }

    /// How long the connection has kept its reader waiting.
    pub(super) fn waited(&self) -> std::time::Duration {
        self.transport.waited()
    }
}

impl PayloadSource for PacketReader<'_> {
    fn fill(&mut self, mut room: &mut [IoVecMut<'_>]) -> io::Result<()> {
        while self.start < self.end {
            let Some(first) = room.first_mut() else {
                return Ok(());
            };
            let kept = self.buffer.get(self.start..self.end).unwrap_or_default();
            let count = first.copy_from(kept);
            self.start += count;
            IoVecMut::advance(&mut room, count);
        }
        if room.is_empty() || recv_all(self.transport, room)? {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
