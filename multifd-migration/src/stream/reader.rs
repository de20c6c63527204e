// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reading one direction of the main connection, and knowing how far it has come.

use std::fmt;
use std::io;
use std::time::Duration;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{self, Transport};

use super::{Direction, Position, Problem, StreamError, Writer};

/// The receiving end of a main connection: a transport, a buffer, and a count of bytes.
///
/// It asks the transport for more only when the buffer has less than is wanted, so it never waits for a byte
/// that nobody wanted. Between reads its owner may [send](Self::send) over the same transport.
pub struct Reader {
    transport: Box<dyn Transport>,
    /// What has come and not been read, from `start` to `end`.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    direction: Direction,
    offset: u64,
    sent: u64,
    time_limit: Option<Duration>,
    /// What has been read and is to be passed on, if that is wanted.
    tee: Option<Tee>,
}

/// The bytes from `start` on that have been read.
struct Tee {
    start: u64,
    bytes: Vec<u8>,
}

impl Reader {
    /// A reader of the main stream. `prefix` are the bytes that somebody else has read from the
    /// transport already, to find out what connection it is; they count as the stream's first.
    pub fn new(transport: Box<dyn Transport>, prefix: &[u8]) -> Self {
        Self::with_direction(transport, prefix, Direction::Main)
    }

    pub(super) fn with_direction(
        transport: Box<dyn Transport>,
        prefix: &[u8],
        direction: Direction,
    ) -> Self {
        let mut buffer = vec![0; BUFFER_LEN.max(prefix.len())].into_boxed_slice();
        let end = copy(&mut buffer, prefix);
        Self {
            transport,
            buffer,
            start: 0,
            end,
            direction,
            offset: 0,
            sent: 0,
            time_limit: None,
            tee: None,
        }
    }

    /// Keeps what is read from now on, for [`Self::pass_on`]; but nothing before the offset `start`.
    pub fn keep_copy(&mut self, start: u64) {
        let bytes = Vec::new();
        self.tee = Some(Tee { start, bytes });
    }

    /// Writes what has been read since the last call, unchanged.
    ///
    /// # Errors
    /// The writer's.
    pub fn pass_on(&mut self, writer: &mut Writer) -> Result<(), StreamError> {
        if let Some(tee) = &mut self.tee {
            writer.put(&tee.bytes)?;
            tee.bytes.clear();
        }
        Ok(())
    }

    /// What the next call of [`Self::pass_on`] writes.
    pub(crate) fn copied(&self) -> &[u8] {
        self.tee.as_ref().map_or(&[], |tee| &tee.bytes)
    }

    /// How many bytes have come and not been read.
    pub fn buffered(&self) -> usize {
        self.available().len()
    }

    /// Reads what comes next, whatever it is and at least one byte, to be [passed on](Self::pass_on).
    /// Returns false at the end of the stream.
    ///
    /// # Errors
    /// The transport's.
    pub fn read_on(&mut self) -> Result<bool, StreamError> {
        let more = self.fill()?;
        self.consume(self.available().len());
        Ok(more)
    }

    /// How many bytes have been read: the offset of the next one in the stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next byte's place.
    pub fn position(&self) -> Position {
        Position {
            direction: self.direction,
            offset: self.offset,
        }
    }

    /// The transport, for instance to limit how long it may block.
    pub fn transport_mut(&mut self) -> &mut dyn Transport {
        &mut *self.transport
    }

    /// The transport.
    pub fn transport(&self) -> &dyn Transport {
        &*self.transport
    }

    /// How long to wait for the next byte; `None`, as at the start, for ever. An error says it.
    pub fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.time_limit = limit;
        self.transport_mut().set_time_limit(limit);
    }

    /// Gives the transport back. Bytes that have come but not been read are lost.
    pub fn into_transport(self) -> Box<dyn Transport> {
        self.transport
    }

    /// Sends bytes the other way, all of them.
    ///
    /// # Errors
    /// The transport's.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        let direction = match self.direction {
            Direction::Main => Direction::ReturnPath,
            Direction::ReturnPath => Direction::Main,
        };
        let at = Position {
            direction,
            offset: self.sent,
        };
        transport::send_all(self.transport_mut(), &mut [IoVec::from(bytes)])
            .map_err(|error| StreamError::Send { at, error })?;
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// The next byte, which stays unread.
    pub(super) fn peek(&mut self, what: &'static str) -> Result<u8, StreamError> {
        let (at, got, want) = (self.position(), 0, 1);
        self.fill()?;
        let ended = StreamError::Ended {
            at,
            what,
            got,
            want,
        };
        self.available().first().copied().ok_or(ended)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], StreamError> {
        let at = self.position();
        let mut array = [0; N];
        let mut got = 0;
        while let Some(room) = array.get_mut(got..).filter(|room| !room.is_empty()) {
            if !self.fill()? {
                let want = N;
                return Err(StreamError::Ended {
                    at,
                    what,
                    got,
                    want,
                });
            }
            let count = copy(room, self.available());
            self.consume(count);
            got += count;
        }
        Ok(array)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, StreamError> {
        self.array(what).map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, StreamError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, StreamError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, StreamError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// The next `len` bytes. Memory grows with what comes, not with what was announced; the caller
    /// has limited `len` all the same.
    pub(super) fn bytes(&mut self, len: usize, what: &'static str) -> Result<Vec<u8>, StreamError> {
        let at = self.position();
        let mut bytes = Vec::with_capacity(len.min(BUFFER_LEN));
        while bytes.len() < len {
            if !self.fill()? {
                let (got, want) = (bytes.len(), len);
                return Err(StreamError::Ended {
                    at,
                    what,
                    got,
                    want,
                });
            }
            let available = self.available();
            let wanted = available.get(..len - bytes.len()).unwrap_or(available);
            bytes.extend_from_slice(wanted);
            let count = wanted.len();
            self.consume(count);
        }
        Ok(bytes)
    }

    /// A string behind one byte of length.
    pub(super) fn short_string(&mut self, what: &'static str) -> Result<Vec<u8>, StreamError> {
        let len = self.u8(what)?;
        self.bytes(usize::from(len), what)
    }

    /// Has at least one byte in the buffer and returns true, or false at the stream's end.
    pub(super) fn fill(&mut self) -> Result<bool, StreamError> {
        Ok(!self.peek_up_to(1)?.is_empty())
    }

    /// The next bytes, which stay unread: `count` of them at least, or all up to the stream's end. `count` is
    /// at most [`BUFFER_LEN`].
    pub(super) fn peek_up_to(&mut self, count: usize) -> Result<&[u8], StreamError> {
        while self.available().len() < count {
            if self.receive()? == 0 {
                break;
            }
        }
        Ok(self.available())
    }

    /// Receives what comes next behind what is in the buffer; returns how many bytes.
    fn receive(&mut self) -> Result<usize, StreamError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let at = Position {
            direction: self.direction,
            offset: self.offset + self.available().len() as u64,
        };
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let len = room.len();
        let received = match self.transport.recv(&mut [IoVecMut::from(room)]) {
            Ok(received) if received <= len => received,
            Ok(received) => {
                let what = format!("the transport received {received} bytes, wanted at most {len}");
                let error = io::Error::other(what);
                return Err(StreamError::Receive { at, error });
            }
            Err(error) => {
                let error = self.explain(error);
                return Err(StreamError::Receive { at, error });
            }
        };
        self.end += received;
        Ok(received)
    }

    /// Says of a wait that was over what its limit was.
    fn explain(&self, error: io::Error) -> io::Error {
        // The system has time-outs of its own.
        let is_limit = error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none();
        match self.time_limit.filter(|_| is_limit) {
            Some(limit) => {
                let what = format!("the peer was silent for {} s", limit.as_secs_f32());
                io::Error::new(error.kind(), what)
            }
            None => error,
        }
    }

    /// What has come and not been read.
    pub(super) fn available(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Marks bytes of [`available`](Self::available) as read.
    pub(super) fn consume(&mut self, count: usize) {
        let available = self.buffer.get(self.start..self.end).unwrap_or_default();
        let count = count.min(available.len());
        if let Some(tee) = &mut self.tee {
            let skipped = tee.start.saturating_sub(self.offset);
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let read = available.get(skipped..count).unwrap_or_default();
            tee.bytes.extend_from_slice(read);
        }
        self.start += count;
        self.offset = self.offset.saturating_add(count as u64);
    }

    /// The error for something that the peer sent, which began at `offset`.
    pub(super) fn wrong(&self, offset: u64, problem: Problem) -> StreamError {
        let at = Position {
            direction: self.direction,
            offset,
        };
        StreamError::Peer { at, problem }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("at", &self.position())
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

/// Bytes that are asked for at once. The state of devices may be megabytes, or gigabytes; everything else is
/// short.
pub(super) const BUFFER_LEN: usize = 64 * 1024;

fn copy(target: &mut [u8], source: &[u8]) -> usize {
    let count = target.len().min(source.len());
    for (to, from) in target.iter_mut().zip(source) {
        *to = *from;
    }
    count
}
