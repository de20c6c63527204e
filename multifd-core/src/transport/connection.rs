// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a connection is to the engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::memory::{IoVec, IoVecMut};

/// One connection: a socket of the kernel ([`SocketTransport`](super::SocketTransport)), or whatever the host wraps, such
/// as a TLS session.
pub trait Transport: Send {
    /// Does what comes before the first byte, if that has been put off: a handshake, of whoever has just connected. A
    /// destination calls it before it receives anything: where there are too many connections, those that are not
    /// open give way first. Without this call the first one that sends or receives does it.
    ///
    /// # Errors
    /// As [`Self::recv`].
    fn open(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether [`Self::open`] has nothing to do, or has done it.
    fn is_open(&self) -> bool {
        true
    }

    /// Sends bytes from the front of the list, blocking until at least one has been taken, and
    /// returns how many.
    ///
    /// # Errors
    /// Any. [`io::ErrorKind::Interrupted`] is not retried.
    fn send(&mut self, bytes: &[IoVec<'_>]) -> io::Result<usize>;

    /// Receives bytes to the front of the list, blocking until there is at least one, and returns
    /// how many. 0 is the end of the stream.
    ///
    /// # Errors
    /// Any. [`io::ErrorKind::Interrupted`] is not retried.
    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize>;

    /// What interrupts this connection from another thread.
    fn interrupter(&self) -> Arc<dyn Interrupt>;

    /// A second handle of the same connection, with an interrupter of its own: one thread sends while
    /// another receives. The connection ends when both are dropped.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] from a transport that has none; the system's.
    fn duplicate(&self) -> io::Result<Box<dyn Transport>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes the connection usable again after an interrupt, for a last message to the peer. A
    /// transport that cannot may leave it as it is.
    fn resume(&mut self) {}

    /// The longest that a call may block before it fails with [`io::ErrorKind::TimedOut`]; `None`
    /// for ever, as at the start. A transport without timeouts may ignore it.
    fn set_time_limit(&mut self, limit: Option<Duration>) {
        let _ = limit;
    }

    /// Whether the peer has closed its side of the connection, though there may be bytes left to receive.
    /// Does not wait. A transport that cannot tell says that it has not.
    fn has_ended(&self) -> bool {
        false
    }

    /// Whether what has been sent and has not reached the peer still does when the connection is closed, as at the
    /// start. Otherwise it is thrown away then, and the peer finds the connection reset. A transport that cannot take
    /// anything back ignores it: TCP can, a unix socket has given all of it to the peer.
    fn set_lingering(&mut self, lingers: bool) {
        let _ = lingers;
    }

    /// Says that nothing more will be sent, if the transport has a word for that: TLS has, `close_notify`. Called on
    /// each channel of a source after a migration that succeeded.
    ///
    /// # Errors
    /// As [`Self::send`].
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// How long calls have been blocked so far, waiting for the peer or for room to send.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }
}

/// Makes a blocked call, and every later one, fail with [`io::ErrorKind::Interrupted`].
pub trait Interrupt: Send + Sync {
    /// Interrupts. Never blocks, and calls nothing of the engine; does no harm when repeated or after
    /// the connection's end.
    fn interrupt(&self);
}

/// Sends all of a list.
///
/// # Errors
/// The transport's; [`io::ErrorKind::WriteZero`] if it takes nothing.
pub fn send_all(transport: &mut dyn Transport, mut bytes: &mut [IoVec<'_>]) -> io::Result<()> {
    while bytes.iter().any(|vec| !vec.is_empty()) {
        let sent = transport.send(bytes)?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoVec::advance(&mut bytes, sent);
    }
    Ok(())
}

/// Fills all of a list and returns true; returns false if the stream ended before the first byte.
///
/// # Errors
/// The transport's; [`io::ErrorKind::UnexpectedEof`] if the stream ended after the first byte.
pub fn recv_all(transport: &mut dyn Transport, mut room: &mut [IoVecMut<'_>]) -> io::Result<bool> {
    let mut any = false;
    while room.iter().any(|vec| !vec.is_empty()) {
        let received = transport.recv(room)?;
        if received == 0 {
            return if any {
                Err(io::ErrorKind::UnexpectedEof.into())
            } else {
                Ok(false)
            };
        }
        any = true;
        IoVecMut::advance(&mut room, received);
    }
    Ok(true)
}
