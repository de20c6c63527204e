// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A session that is made when it is needed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};

/// A connection whose handshake is the business of the first call that sends or receives, on its thread.
pub(crate) struct Later<F> {
    state: State,
    /// Makes the session.
    make: F,
    interrupter: Arc<dyn Interrupt>,
    /// Of the handshake.
    limit: Duration,
    /// Of each call.
    call_limit: Option<Duration>,
}

enum State {
    Plain(Box<dyn Transport>),
    Session(Box<dyn Transport>),
    Failed,
}

impl<F> Later<F>
where
    F: FnMut(Box<dyn Transport>, Duration) -> io::Result<Box<dyn Transport>> + Send,
{
    /// The handshake takes no longer than `limit`, and than what is [set](Transport::set_time_limit) before it.
    pub(crate) fn new(transport: Box<dyn Transport>, limit: Duration, make: F) -> Self {
        Self {
            interrupter: transport.interrupter(),
            state: State::Plain(transport),
            make,
            limit,
            call_limit: None,
        }
    }

    fn session(&mut self) -> io::Result<&mut dyn Transport> {
        if matches!(self.state, State::Plain(_)) {
            self.shake_hands()?;
        }
        match &mut self.state {
            State::Session(session) => Ok(&mut **session),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        let State::Plain(transport) = std::mem::replace(&mut self.state, State::Failed) else {
            return Ok(());
        };
        let start = Instant::now();
        let limit = self.call_limit.unwrap_or(self.limit).min(self.limit);
        let mut session = (self.make)(transport, limit)?;
        let left = self
            .call_limit
            .map(|limit| limit.saturating_sub(start.elapsed()));
        session.set_time_limit(left);
        self.state = State::Session(session);
        Ok(())
    }
}

impl State {
    fn connection(&self) -> Option<&dyn Transport> {
        match self {
            Self::Plain(transport) | Self::Session(transport) => Some(&**transport),
            Self::Failed => None,
        }
    }

    fn connection_mut(&mut self) -> Option<&mut Box<dyn Transport>> {
        match self {
            Self::Plain(transport) | Self::Session(transport) => Some(transport),
            Self::Failed => None,
        }
    }
}

impl<F> Transport for Later<F>
where
    F: FnMut(Box<dyn Transport>, Duration) -> io::Result<Box<dyn Transport>> + Send,
{
    fn open(&mut self) -> io::Result<()> {
        self.session().map(drop)
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Session(_))
    }

    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize> {
        self.session()?.send(bytes)
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        self.session()?.recv(room)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::clone(&self.interrupter)
    }

    /// Only of a session that has been made: both handles would make one.
    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        match &self.state {
            State::Session(session) => session.duplicate(),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn resume(&mut self) {
        if let Some(connection) = self.state.connection_mut() {
            connection.resume();
        }
    }

    fn set_time_limit(&mut self, limit: Option<Duration>) {
        self.call_limit = limit;
        if let Some(connection) = self.state.connection_mut() {
            connection.set_time_limit(limit);
        }
    }

    fn has_ended(&self) -> bool {
        let connection = self.state.connection();
        connection.is_none_or(|connection| connection.has_ended())
    }

    fn set_lingering(&mut self, lingers: bool) {
        if let Some(connection) = self.state.connection_mut() {
            connection.set_lingering(lingers);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.session()?.finish()
    }

    fn waited(&self) -> Duration {
        let connection = self.state.connection();
        connection.map_or(Duration::ZERO, |connection| connection.waited())
    }
}
