// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What goes wrong in a channel, as an error of the engine.

use std::io;

use crate::error::{Error, Fault, Place};
use crate::memory::{Access, PageFault};
use crate::method::MethodError;
use crate::pages::PagesError;
use crate::wire::WireError;

/// A peer has closed a channel's connection where it should not: it has ended, or given the migration up.
#[derive(Debug, thiserror::Error)]
#[error("the peer closed the connection {how}")]
pub struct PeerClosed {
    how: String,
}

impl PeerClosed {
    /// In these words: `in the middle of a packet`, for instance.
    pub fn new(how: impl Into<String>) -> Self {
        Self { how: how.into() }
    }
}

/// The engine's error for what a transport reported.
pub(super) fn connection_error(error: io::Error) -> Error {
    match error.kind() {
        // Only an abort interrupts a transport; whoever aborted has recorded why.
        io::ErrorKind::Interrupted => Error::aborted(),
        io::ErrorKind::UnexpectedEof => {
            let closed = PeerClosed::new("in the middle of a packet");
            Error::new(Fault::Connection, closed)
        }
        io::ErrorKind::TimedOut if error.raw_os_error().is_some() => Error::new(
            Fault::Connection,
            format!("the peer's host does not answer any more ({error})"),
        ),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            let closed = PeerClosed::new(format!("({error})"));
            Error::new(Fault::Connection, closed)
        }
        _ => Error::new(Fault::Connection, error),
    }
}

/// The same where guest memory is what is sent or filled: the system may not be able to touch that.
pub(super) fn content_error(error: io::Error, access: Access) -> Error {
    match error.raw_os_error() {
        Some(libc::EFAULT) => Error::new(Fault::Caller, PageFault::not_there(access)),
        _ => connection_error(error),
    }
}

pub(super) fn method_error(error: MethodError) -> Error {
    match error {
        // Only receiving methods have to do with connections.
        MethodError::Connection(error) => content_error(error, Access::Write),
        error => Error::new(error.fault(), error),
    }
}

/// A transport's mistake.
pub(super) fn received_too_many(count: usize) -> io::Error {
    io::Error::other(format!(
        "the transport received {count} bytes, more than there was room for"
    ))
}

/// Pages that this side chose.
pub(super) fn own_pages_error(error: PagesError) -> Error {
    match error {
        PagesError::Outside { offset } => {
            caller("page outside its block").at(Place::default().offset(offset))
        }
        error => Error::new(Fault::Caller, error),
    }
}

pub(super) fn wire_error(error: WireError) -> Error {
    Error::new(Fault::Peer, error)
}

/// This side's own mistake.
pub(crate) fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into())
}
