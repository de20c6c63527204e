// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A connection of a migration that is passed on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};

use crate::net::room;

/// A connection that says again what has been received of it before, and waits for room for a second handle.
pub(super) struct Connection {
    connection: Box<dyn Transport>,
    start: Vec<u8>,
    /// How many have been said again.
    said: usize,
}

impl Connection {
    pub(super) fn new(connection: Box<dyn Transport>) -> Self {
        Self::begun(connection, Vec::new())
    }

    /// One of which `start` has been received.
    pub(super) fn begun(connection: Box<dyn Transport>, start: Vec<u8>) -> Self {
        Self {
            connection,
            start,
            said: 0,
        }
    }
}

impl Transport for Connection {
    fn open(&mut self) -> io::Result<()> {
        self.connection.open()
    }

    fn is_open(&self) -> bool {
        self.connection.is_open()
    }

    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.connection.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let again = self.start.get(self.said..).unwrap_or_default();
        let first = room.iter_mut().find(|vec| !vec.is_empty());
        let count = match first {
            Some(vec) => vec.copy_from(again),
            None => return Ok(0),
        };
        self.said += count;
        match count {
            0 => self.connection.recv(room),
            count => Ok(count),
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.connection.interrupter()
    }

    /// A handle for the other direction: what is to be said again, this one says.
    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        room::patiently(&|| false, || self.connection.duplicate())
    }

    fn resume(&mut self) {
        self.connection.resume();
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.connection.set_time_limit(limit);
    }

    fn set_lingering(&mut self, lingers: bool) {
        self.connection.set_lingering(lingers);
    }

    fn has_ended(&self) -> bool {
        self.connection.has_ended()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.connection.finish()
    }

    fn waited(&self) -> Duration {
        self.connection.waited()
    }
}
