// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who has made a connection.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// What is known of the other end of a connection that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    /// A process of this host, over a unix socket.
    Process(NonZeroU32),
    /// Somebody on this host who has no number here, over a unix socket.
    Somebody,
    /// A host, over tcp.
    Host(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(id) => write!(f, "process {id}"),
            Self::Somebody => f.write_str("a process"),
            Self::Host(address) => write!(f, "{address}"),
        }
    }
}
