//! From a connection to a session.

use std::io;
use std::time::{Duration, Instant};

use multifd_core::memory::IoVec;
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
            let _ = say(&mut connection, &mut *transport, deadline);
            return Err(TlsError::from(error).into());
        }
    }
    transport.set_time_limit(None);
    Ok(Box::new(TlsTransport::new(connection, transport, staged)))
}

/// Answers false, too, if the peer closed the connection without having read what was sent.
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

fn set_time_left(transport: &mut dyn Transport, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    transport.set_time_limit(Some(left));
    Ok(())
}
