//! What goes wrong in a channel, as an error of the engine.

use std::io;

use crate::error::{Error, Fault};
use crate::method::MethodError;
use crate::wire::WireError;

/// The engine's error for what a transport reported.
pub(super) fn connection_error(error: io::Error) -> Error {
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

pub(super) fn method_error(error: MethodError) -> Error {
    match error {
        MethodError::Connection(error) => connection_error(error),
        error => Error::new(error.fault(), error),
    }
}

/// A transport's mistake.
pub(super) fn received_too_many(count: usize) -> io::Error {
    io::Error::other(format!(
        "the transport received {count} bytes, more than there was room for"
    ))
}

pub(super) fn wire_error(error: WireError) -> Error {
    Error::new(Fault::Peer, error)
}

/// This side's own mistake.
pub(crate) fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into())
}
