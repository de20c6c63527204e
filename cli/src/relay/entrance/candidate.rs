// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A connection that has not said yet what it is.

use multifd_core::transport::{SocketTransport, Transport};

use super::hearing::{Hearing, Introduced};
use super::said::Said;
use crate::relay::connection::Connection;

/// A connection that was accepted.
pub(super) enum Candidate {
    /// What it has said can be looked at, and stays to be received.
    Socket(SocketTransport),
    /// What it says has to be received to be looked at, which a thread does.
    Heard(Hearing),
}

impl Candidate {
    /// What it has said by now. Does not wait.
    pub(super) fn said(&self) -> Said {
        match self {
            Self::Socket(socket) => Said::on(socket),
            Self::Heard(hearing) => hearing.said(),
        }
    }

    /// Why it has ended, if there is more to say of that.
    pub(super) fn why(&self) -> Option<String> {
        match self {
            Self::Socket(_) => None,
            Self::Heard(hearing) => hearing.why(),
        }
    }

    /// Whether its peer has closed it.
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.has_ended(),
            Self::Heard(hearing) => hearing.has_ended(),
        }
    }

    /// The connection, from its first byte on; `None` if it has not said what it is.
    pub(super) fn into_transport(self) -> Option<Box<dyn Transport>> {
        match self {
            Self::Socket(socket) => Some(Box::new(socket)),
            Self::Heard(hearing) => {
                let Introduced { connection, start } = hearing.into_introduced()?;
                Some(Box::new(Connection::begun(connection, start)))
            }
        }
    }
}
