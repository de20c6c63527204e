//! One channel: what its thread does with packets.
//!
//! Here are no threads and no locks, only the work of one thread: `batch` and `send` turn pages
//! and device state into packets, `recv` reads packets and has a `sink` take their pages: `fill`
//! those of a guest. [`crate::engine`] runs them.

mod batch;
mod device_state;
mod fill;
mod init;
mod reader;
mod recv;
mod send;
mod sink;
mod stats;

pub use device_state::{DeviceState, DeviceStateSink};
pub use stats::{ChannelStats, MigrationStats, Monitor};

pub(crate) use batch::{Batch, BatchChannel, is_zero_page};
pub(crate) use fill::GuestTarget;
pub(crate) use init::{Prelude, recv_prelude};
pub(crate) use recv::{Received, RecvChannel};
pub(crate) use send::SendChannel;
pub(crate) use sink::{Arrived, PageSink, PageTarget, not_announced};
pub(crate) use stats::Counters;

use std::io;

use init::send_init;

use crate::error::{Error, Fault};
use crate::method::MethodError;
use crate::wire::WireError;

/// The engine's error for what a transport reported.
pub(crate) fn connection_error(error: io::Error) -> Error {
    match error.kind() {
        // Only an abort interrupts a transport; whoever aborted has recorded why.
        io::ErrorKind::Interrupted => Error::aborted(),
        io::ErrorKind::UnexpectedEof => Error::new(
            Fault::Connection,
            "the peer closed the connection in the middle of a packet",
        ),
        io::ErrorKind::TimedOut => Error::new(
            Fault::Connection,
            "the peer was silent for longer than the time limit",
        ),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::new(
            Fault::Connection,
            format!("the peer closed the connection ({error})"),
        ),
        _ => Error::new(Fault::Connection, error),
    }
}

fn method_error(error: MethodError) -> Error {
    match error {
        MethodError::Connection(error) => connection_error(error),
        error => Error::new(error.fault(), error),
    }
}

/// A transport's mistake.
fn received_too_many(count: usize) -> io::Error {
    io::Error::other(format!(
        "the transport received {count} bytes, more than there was room for"
    ))
}

fn wire_error(error: WireError) -> Error {
    Error::new(Fault::Peer, error)
}

/// This side's own mistake.
pub(crate) fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into())
}
