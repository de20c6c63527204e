//! A connection of which the first bytes have been received, as if they had not.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};

use super::hearing::{Hearing, Introduced, Slot};

/// A connection that was heard, or still is: it says its first bytes again.
pub(super) struct Announced {
    state: State,
    interrupter: Arc<dyn Interrupt>,
    limit: Option<Duration>,
}

enum State {
    Awaited(Arc<Slot>),
    /// With as many of its first bytes as have been said again.
    Here(Introduced, usize),
    Failed,
}

impl Announced {
    pub(super) fn new(hearing: Hearing) -> Self {
        Self {
            state: State::Awaited(hearing.heard),
            interrupter: hearing.interrupter,
            limit: None,
        }
    }

    fn introduced(&mut self) -> io::Result<(&mut Introduced, &mut usize)> {
        if let State::Awaited(slot) = &self.state {
            let heard = slot.wait(self.limit)?;
            self.state = State::Failed;
            let mut introduced = heard?;
            introduced.connection.set_time_limit(self.limit);
            self.state = State::Here(introduced, 0);
        }
        match &mut self.state {
            State::Here(introduced, said) => Ok((introduced, said)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The connection, if it is there already.
    fn connection(&mut self) -> Option<&mut Box<dyn Transport>> {
        match &mut self.state {
            State::Here(introduced, _) => Some(&mut introduced.connection),
            _ => None,
        }
    }
}

impl Transport for Announced {
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.introduced()?.0.connection.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let (introduced, said) = self.introduced()?;
        let again = introduced.start.get(*said..).unwrap_or_default();
        let first = room.iter_mut().find(|vec| !vec.is_empty());
        let count = match first {
            Some(vec) => vec.copy_from(again),
            None => return Ok(0),
        };
        *said += count;
        match count {
            0 => introduced.connection.recv(room),
            count => Ok(count),
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupter)
    }

    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        match &self.state {
            State::Here(introduced, 4..) => introduced.connection.duplicate(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn resume(&mut self) {
        if let Some(connection) = self.connection() {
            connection.resume();
        }
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.limit = limit;
        if let Some(connection) = self.connection() {
            connection.set_time_limit(limit);
        }
    }

    fn has_ended(&self) -> bool {
        match &self.state {
            State::Awaited(_) => false,
            State::Here(introduced, _) => introduced.connection.has_ended(),
            State::Failed => true,
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.introduced()?.0.connection.finish()
    }

    fn waited(&self) -> Duration {
        match &self.state {
            State::Here(introduced, _) => introduced.connection.waited(),
            _ => Duration::ZERO,
        }
    }
}
