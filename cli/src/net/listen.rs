// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The destination's connections.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::transport::SocketTransport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::net::allowed::{Allowed, Caller};
use crate::net::descriptors::Reserve;
use crate::net::passed::Passed;
use crate::net::peer::Peer;
use crate::net::refused::Refused;
use crate::net::room::Room;
use crate::net::socket::{Accepted, Socket};
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;

/// Listens on one address or several; a unix socket's file is removed on drop, if it is still this one's.
pub(crate) struct Listener {
    /// Nothing once it has stopped.
    sockets: Vec<Socket>,
    addresses: Vec<Uri>,
    /// Which socket is asked first for the next connection, so that none keeps the others waiting.
    first: usize,
    /// After how long a host that is gone is noticed.
    limit: Duration,
    wake: UnixStream,
    waker: Waker,
    room: Room,
    /// How many descriptors are left for others when a connection is accepted.
    free: usize,
    allowed: Allowed,
    refused: Refused,
}

/// Ends [`Listener::wait`] from another thread.
#[derive(Clone)]
pub(crate) struct Waker(Arc<UnixStream>);

/// What [`Listener::wait`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// There may be a connection to accept.
    Connection,
    /// Someone called [`Waker::wake`].
    Woken,
    /// Nothing for as long as allowed.
    TimedOut,
}

impl Listener {
    /// Listens. The host of a connection that is gone later is noticed after `limit`.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub(crate) fn bind(uri: &Uri, limit: Duration) -> Result<Self, Failure> {
        Self::on(vec![Socket::at(uri)?], limit)
    }

    /// Listens on the sockets that were passed to this process, and on `address`, if that is none of theirs.
    ///
    /// # Errors
    /// There is neither, or an address cannot be listened on.
    pub(crate) fn open(
        passed: Passed,
        address: Option<&Uri>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        Self::on(passed.and(address)?, limit)
    }

    fn on(sockets: Vec<Socket>, limit: Duration) -> Result<Self, Failure> {
        Self::try_on(sockets, limit).map_err(|error| {
            let what = format!("cannot wait for connections: {error}");
            Failure::new(ExitCode::Local, what)
        })
    }

    fn try_on(sockets: Vec<Socket>, limit: Duration) -> io::Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        Ok(Self {
            addresses: sockets.iter().map(|socket| socket.uri().clone()).collect(),
            sockets,
            first: 0,
            limit,
            wake,
            waker: Waker(Arc::new(waker)),
            room: Room::default(),
            free: 0,
            allowed: Allowed::default(),
            refused: Refused::default(),
        })
    }

    /// Says where it listens: on stdout, or on stderr if JSON goes there, or if nobody listens to stdout.
    pub(crate) fn announce(&self, json: bool) {
        for uri in &self.addresses {
            let text = format_args!("listening on {uri}");
            if json || output::line(text).is_err() {
                output::message(text);
            }
        }
    }

    /// Whether this process may have so many connections now of those who connect, and so many others that it makes itself.
    pub(crate) fn has_room_for(accepted: usize, made: usize) -> bool {
        Reserve::take(accepted + made, FEW).is_some()
    }

    /// From now on accepts no connection where there would not be room for so many others that this process makes
    /// itself, and for a few files: those who connect without end are not to take it.
    pub(crate) fn leave_room_for(&mut self, connections: usize) {
        self.free = FEW + 2 * connections;
    }

    /// From now on closes the connections of others at once.
    pub(crate) fn take_only(&mut self, allowed: Allowed) {
        self.allowed = allowed;
    }

    /// The connections of others.
    pub(crate) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Whether somebody waits for whom there was no room.
    pub(crate) fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// Listens no more: who connects now is told so at once. It can be waited for and woken as before.
    pub(crate) fn stop(&mut self) {
        self.sockets.clear();
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    pub(crate) fn place(&self) -> String {
        listed(&self.addresses)
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for a connection or a wake-up; `None` waits for ever.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<Ready> {
        self.wait_beside(&[], limit)
    }

    /// As [`Self::wait`], but something to receive on one of `others` is a wake-up, too.
    pub(crate) fn wait_beside(
        &mut self,
        others: &[BorrowedFd<'_>],
        limit: Option<Duration>,
    ) -> io::Result<Ready> {
        // A connection that there is no room for would wake again and again.
        let mut own = vec![self.wake.as_fd()];
        let mut limit = limit;
        if self.room.is_full() {
            limit = Some(limit.map_or(Room::PAUSE, |limit| limit.min(Room::PAUSE)));
        } else {
            own.extend(self.sockets.iter().map(|socket| socket.as_fd()));
        }
        let limit = limit.map(|limit| Timespec::try_from(limit).unwrap_or(LONGEST));
        let (woken, connected, none) = {
            let all = own.iter().chain(others);
            let mut fds: Vec<_> = all
                .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
                .collect();
            let count = rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()))?;
            let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
            let woken = ready.next().unwrap_or_default();
            let connected = ready.take(own.len() - 1).any(|ready| ready);
            (woken, connected, count == 0)
        };
        if none {
            return Ok(Ready::TimedOut);
        }
        if woken {
            let mut bytes = [0; 64];
            // What is left wakes once more, which does no harm.
            let _ = self.wake.read(&mut bytes);
        }
        Ok(if connected {
            Ready::Connection
        } else {
            Ready::Woken
        })
    }

    /// Accepts a connection that is there already. One that this process has no room for waits.
    pub(crate) fn accept(&mut self) -> io::Result<Option<SocketTransport>> {
        let accepted = self.accept_from()?;
        Ok(accepted.map(|(connection, _)| connection))
    }

    /// As [`Self::accept`], and answers who has made it.
    pub(crate) fn accept_from(&mut self) -> io::Result<Option<(SocketTransport, Peer)>> {
        loop {
            let admitted = self.accept_one();
            match self.room.look(admitted) {
                Ok(Some(Admitted::Refused(caller))) => self.refused.add(caller),
                Ok(Some(Admitted::Taken(connection, peer))) => {
                    return Ok(Some((connection, peer)));
                }
                Err(error) if !is_gone(&error) => return Err(error),
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }

    fn accept_one(&mut self) -> io::Result<Admitted> {
        if !self.is_called()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // A connection takes two descriptors: one that was accepted, and then closed for want of the other, would be
        // lost to its source.
        let spare = (0..=self.free).map(|_| self.wake.try_clone());
        let spare: Vec<_> = spare.collect::<io::Result<_>>()?;
        let accepted = self.accept_any()?;
        drop(spare);
        let caller = accepted.caller();
        if !self.allowed.takes(caller) {
            return Ok(Admitted::Refused(caller));
        }
        let (connection, peer) = accepted.into_connection(self.limit)?;
        Ok(Admitted::Taken(connection, peer))
    }

    /// Whether somebody may wait to be accepted.
    fn is_called(&self) -> io::Result<bool> {
        let sockets = self.sockets.iter();
        let mut fds: Vec<_> = sockets
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let now = Timespec::default();
        Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&now)))? > 0)
    }

    /// From the first socket in turn that has one.
    fn accept_any(&mut self) -> io::Result<Accepted> {
        let count = self.sockets.len();
        for at in (0..count).map(|step| (self.first + step) % count) {
            let Some(socket) = self.sockets.get(at) else {
                continue;
            };
            match socket.accept() {
                Err(error) if is_gone(&error) => {}
                accepted => {
                    self.first = at + 1;
                    return accepted;
                }
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

fn listed(addresses: &[Uri]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

impl Waker {
    pub(crate) fn wake(&self) {
        // A full pipe wakes as well.
        let _ = (&*self.0).write(&[1]);
    }
}

/// What becomes of a connection that was accepted.
enum Admitted {
    Taken(SocketTransport, Peer),
    /// It is closed.
    Refused(Caller),
}

/// Whether there is no connection any more, which may happen after it was announced.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | ConnectionAborted | Interrupted)
}

/// Files that are opened once a source is there.
const FEW: usize = 8;

/// A time that is as good as for ever.
const LONGEST: Timespec = Timespec {
    tv_sec: i64::MAX,
    tv_nsec: 0,
};
