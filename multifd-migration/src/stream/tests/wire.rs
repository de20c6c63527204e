// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A connection whose bytes are known beforehand.

use std::io;
use std::sync::Arc;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};
use parking_lot::Mutex;

use crate::stream::{Incoming, Outgoing, Reader, SyncMode, Writer};
use multifd_core::PageSize;

/// What happens when all bytes have been received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The peer has closed the connection.
    Close,
    /// The peer is silent until the time limit.
    Silence,
}

/// Gives bytes in pieces, and keeps what is sent.
pub(super) struct Wire {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    then: Then,
    pause: Option<usize>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Wire {
    pub(super) fn new(bytes: &[u8], piece: usize, then: Then) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            piece,
            then,
            pause: None,
            sent: Arc::default(),
        }
    }

    /// Once lets the time limit pass before the byte at this offset.
    pub(super) fn pause_at(self, offset: usize) -> Self {
        Self {
            pause: Some(offset),
            ..self
        }
    }

    /// What has been sent.
    pub(super) fn sent(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.sent)
    }
}

impl Transport for Wire {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        let Some(first) = bytes.iter().find(|bytes| !bytes.is_empty()) else {
            return Ok(0);
        };
        let mut copied = vec![0; first.len().min(self.piece)];
        let count = first.copy_to(&mut copied);
        self.sent.lock().extend(copied);
        Ok(count)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        if self.pause == Some(self.at) {
            self.pause = None;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let rest = &self.bytes[self.at..self.pause.unwrap_or(self.bytes.len())];
        if rest.is_empty() {
            return match self.then {
                Then::Close => Ok(0),
                Then::Silence => Err(io::ErrorKind::TimedOut.into()),
            };
        }
        let count = room[0].copy_from(&rest[..rest.len().min(self.piece)]);
        self.at += count;
        Ok(count)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Never)
    }
}

struct Never;

impl Interrupt for Never {
    fn interrupt(&self) {}
}

/// A destination that receives these bytes, and then the end of the stream.
pub(super) fn incoming(bytes: &[u8]) -> Incoming {
    incoming_in_pieces(bytes, usize::MAX, Then::Close)
}

pub(super) fn incoming_in_pieces(bytes: &[u8], piece: usize, then: Then) -> Incoming {
    let reader = Reader::new(Box::new(Wire::new(bytes, piece, then)), &[]);
    Incoming::new(reader, PageSize::X86)
}

/// A source, and what it has sent.
pub(super) fn outgoing(mode: SyncMode) -> (Outgoing, Arc<Mutex<Vec<u8>>>) {
    let wire = Wire::new(&[], 1000, Then::Close);
    let sent = wire.sent();
    let writer = Writer::new(Box::new(wire));
    (Outgoing::new(writer, PageSize::X86, mode), sent)
}
