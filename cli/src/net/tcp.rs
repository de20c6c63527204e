//! Options of TCP connections.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

/// Sends small packets at once, and notices a peer whose host is gone.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    sockopt::set_tcp_user_timeout(stream, UNANSWERED_MILLIS)?;
    Ok(())
}

/// A connection that is silent for so long is probed,
const IDLE: Duration = Duration::from_secs(15);
/// again and again after this time,
const INTERVAL: Duration = Duration::from_secs(5);
/// and fails after so many probes without an answer.
const PROBES: u32 = 6;
/// What was sent and is not acknowledged for so long fails the connection, too.
const UNANSWERED_MILLIS: u32 = 45_000;
