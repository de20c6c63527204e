// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connected byte streams that can be interrupted.

mod connected;
mod connection;
#[allow(unsafe_code, reason = "options of sockets")]
mod option;
#[allow(unsafe_code, reason = "system calls on raw vectors of guest memory")]
mod socket;
mod tcp;
#[allow(unsafe_code, reason = "an event descriptor")]
mod wake;

pub use connected::ConnectedSocket;
pub use connection::{Interrupt, Transport, recv_all, send_all};
pub use socket::{SocketTransport, UNIX_SEND_BUFFER};
