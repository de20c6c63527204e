// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can go wrong on the main connection, where in it, and whose fault it is.

use std::fmt;
use std::io;

use multifd_core::{Error, Fault};

use super::Problem;

/// Why the main connection cannot go on.
///
/// After an error the reader or writer that gave it has lost its place in the stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The transport failed to receive.
    #[error("{at}: cannot receive: {error}")]
    Receive {
        /// The next byte that was wanted.
        at: Position,
        /// The transport's error.
        error: io::Error,
    },
    /// The transport failed to send.
    #[error("{at}: cannot send: {error}")]
    Send {
        /// How many bytes may have been sent before.
        at: Position,
        /// The transport's error.
        error: io::Error,
    },
    /// The stream ended where more had to come.
    #[error("{at}: the stream ended in {what}: got {got} bytes of {want}")]
    Ended {
        /// Where what ended too early began.
        at: Position,
        /// What was being read.
        what: &'static str,
        /// How many of its bytes came.
        got: usize,
        /// How many it has.
        want: usize,
    },
    /// The peer sent what it must not send, or what this side does not take.
    #[error("{at}: {problem}")]
    Peer {
        /// Where what is wrong began.
        at: Position,
        /// What is wrong.
        problem: Problem,
    },
    /// This side was asked to write or read what the format does not allow here.
    #[error("{at}: {problem}")]
    Caller {
        /// How far the stream had come.
        at: Position,
        /// What is wrong.
        problem: Problem,
    },
}

/// A byte of the main connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which of the two directions.
    pub direction: Direction,
    /// How many bytes of that direction come before it.
    pub offset: u64,
}

/// One of the two byte streams of the main connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the source to the destination.
    Main,
    /// From the destination to the source.
    ReturnPath,
}

impl StreamError {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Receive { error, .. } | Self::Send { error, .. } => match error.kind() {
                // Only an interrupter of the transport makes this one.
                io::ErrorKind::Interrupted => Fault::Aborted,
                _ => Fault::Connection,
            },
            Self::Ended { .. } => Fault::Connection,
            Self::Peer { .. } => Fault::Peer,
            Self::Caller { .. } => Fault::Caller,
        }
    }

    /// The byte near which it went wrong.
    pub fn at(&self) -> Position {
        match self {
            Self::Receive { at, .. }
            | Self::Send { at, .. }
            | Self::Ended { at, .. }
            | Self::Peer { at, .. }
            | Self::Caller { at, .. } => *at,
        }
    }

    /// What is wrong with what was sent or asked for; `None` if the connection failed.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Peer { problem, .. } | Self::Caller { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        Self::new(error.fault(), error)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Main => "main stream",
            Direction::ReturnPath => "return path",
        };
        write!(f, "{direction}, byte {:#x}", self.offset)
    }
}
