//! Connected byte streams that can be interrupted.

mod connection;
#[allow(unsafe_code, reason = "system calls on raw vectors of guest memory")]
mod socket;
mod tcp;

pub use connection::{Interrupt, Transport, recv_all, send_all};
pub use socket::{SocketTransport, UNIX_SEND_BUFFER};
