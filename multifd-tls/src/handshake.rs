// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From a connection to a session.

use std::io;
use std::time::{Duration, Instant};

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Transport, send_all};
use rustls::Connection;

use crate::TlsError;
use crate::session::{TlsTransport, take_outgoing};
use crate::staged::Staged;

/// Negotiates a session.
///
/// # Errors
/// The transport's, [`io::ErrorKind::TimedOut`] when not done within `limit`, and [`TlsError`] in an error of
/// [`io::ErrorKind::InvalidData`]. The peer has been told, if it could be.
pub(crate) fn negotiate(
    mut connection: Connection,
    mut transport: Box<dyn Transport>,
    limit: Duration,
) -> io::Result<Box<dyn Transport>> {
    let deadline = Instant::now() + limit;
    let mut staged = Staged::new();
    while connection.is_handshaking() || connection.wants_write() {
        if connection.wants_write() {
            say(&mut connection, &mut *transport, deadline)?;
            continue;
        }
        set_time_left(&mut *transport, deadline)?;
        if staged.is_empty() && !receive(&mut staged, &mut *transport)? {
            return Err(TlsError::Closed.into());
        }
        connection.read_tls(&mut staged)?;
        if let Err(error) = connection.process_new_packets() {
            // The reason why the peer is told anything says more than that it cannot be told.
            if say(&mut connection, &mut *transport, deadline).is_ok() {
                linger(&mut *transport);
            }
            return Err(TlsError::from(error).into());
        }
    }
    transport.set_time_limit(None);
    Ok(Box::new(TlsTransport::new(connection, transport, staged)))
}

/// Returns false, too, if the peer closed the connection without having read what was sent.
fn receive(staged: &mut Staged, transport: &mut dyn Transport) -> io::Result<bool> {
    match staged.fill(transport) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        result => result,
    }
}

/// Sends what rustls has to say.
fn say(
    connection: &mut Connection,
    transport: &mut dyn Transport,
    deadline: Instant,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    take_outgoing(connection, &mut bytes)?;
    set_time_left(transport, deadline)?;
    send_all(transport, &mut [IoVec::from(bytes.as_slice())])
}

/// Throws away what still comes until the peer has heard why it is refused, and closes the connection. A connection that is
/// closed before all has been received is reset, which may take the reason from the peer. With TLS 1.3 a source takes its
/// session for good meanwhile, and connects its channels: a QEMU that is told only by broken ones may wait for them for ever.
fn linger(transport: &mut dyn Transport) {
    let end = Instant::now() + LINGER;
    let mut scratch = [0; 4096];
    loop {
        let received = set_time_left(transport, end)
            .and_then(|()| transport.recv(&mut [IoVecMut::from(&mut scratch[..])]));
        if !matches!(received, Ok(1..)) {
            return;
        }
    }
}

fn set_time_left(transport: &mut dyn Transport, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    transport.set_time_limit(Some(left));
    Ok(())
}

/// How long a peer that is refused may take to hear it.
const LINGER: Duration = Duration::from_secs(1);
