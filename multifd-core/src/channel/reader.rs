// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reading headers and payloads from a connection.

use std::io;
use std::time::Duration;

use super::failure::received_too_many;
use crate::memory::IoVecMut;
use crate::pages::PayloadSource;
use crate::transport::{Transport, recv_all};

/// Reads a header in one call whatever its kind, without knowing its length beforehand: what is
/// read too much is the start of the payload, and is kept for it.
pub(super) struct PacketReader<'t> {
    transport: &'t mut dyn Transport,
    /// How long the peer may be silent inside of a packet. Between two it may be silent for ever.
    silence: Duration,
    buffer: Vec<u8>,
    /// What is kept: `start <= end <= buffer.len()`.
    start: usize,
    end: usize,
    /// How much of it has been peeked.
    peeked: usize,
}

impl<'t> PacketReader<'t> {
    /// A reader for headers of up to `header_len` bytes, of a peer that may be silent for as long as `silence`
    /// inside of a packet.
    pub(super) fn new(
        (transport, silence): (&'t mut dyn Transport, Duration),
        header_len: usize,
    ) -> Self {
        Self {
            transport,
            silence,
            buffer: vec![0; header_len],
            start: 0,
            end: 0,
            peeked: 0,
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
            let begun = self.start < self.end;
            self.transport.set_time_limit(begun.then_some(self.silence));
            let (_, room) = self.buffer.split_at_mut(self.end);
            let most = room.len();
            let received = self.transport.recv(&mut [room.into()]);
            match received.map_err(|error| silent(error, self.silence))? {
                0 if self.start == self.end => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                received if received <= most => self.end += received,
                received => return Err(received_too_many(received)),
            }
        }
        self.peeked = len;
        Ok(Some(self.kept().split_at(len).0))
    }

    /// As [`Self::peek`], with the length in the type.
    pub(super) fn peek_array<const N: usize>(&mut self) -> io::Result<Option<&[u8; N]>> {
        let bytes = self.peek(N)?.map(<&[u8; N]>::try_from).transpose();
        bytes.map_err(io::Error::other)
    }

    /// Takes the bytes that have been peeked last.
    pub(super) fn consume(&mut self) {
        self.start += std::mem::take(&mut self.peeked);
    }

    /// How long the connection has kept its reader waiting.
    pub(super) fn waited(&self) -> Duration {
        self.transport.waited()
    }

    fn kept(&self) -> &[u8] {
        self.buffer.split_at(self.end).0.split_at(self.start).1
    }
}

impl PayloadSource for PacketReader<'_> {
    fn fill(&mut self, mut room: &mut [IoVecMut<'_>]) -> io::Result<()> {
        while self.start < self.end {
            let Some(first) = room.first_mut() else {
                return Ok(());
            };
            let count = first.copy_from(self.kept());
            self.start += count;
            IoVecMut::advance(&mut room, count);
        }
        self.transport.set_time_limit(Some(self.silence));
        let filled = room.is_empty()
            || recv_all(self.transport, room).map_err(|error| silent(error, self.silence))?;
        filled
            .then_some(())
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Says of a wait that was over what its limit was.
fn silent(error: io::Error, limit: Duration) -> io::Error {
    // The system has time-outs of its own.
    if error.kind() != io::ErrorKind::TimedOut || error.raw_os_error().is_some() {
        return error;
    }
    let seconds = limit.as_secs_f32();
    let what = format!("the peer was silent for {seconds} s in the middle of a packet");
    io::Error::new(error.kind(), what)
}
