//! A connection that has not said yet what it is.

use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::wire::{MAIN_MAGIC, MULTIFD_MAGIC};

use super::announced::Announced;
use super::hearing::Hearing;
use crate::net::tls::ServerSide;

/// A connection that was accepted.
pub(super) enum Candidate {
    /// What it has said can be looked at, and stays to be received.
    Socket(SocketTransport),
    /// What it says has to be received to be looked at, which a thread does.
    Heard(Hearing),
}

/// What the first bytes of a connection say it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Main,
    Channel,
    /// It is of no migration.
    Other([u8; 4]),
    /// It is closed.
    Closed,
    /// It cannot be used, for this reason.
    Failed(String),
    /// Too few bytes have come.
    Unknown,
}

impl Candidate {
    /// What is known of it by now. Does not wait.
    pub(super) fn classify(&self) -> Class {
        match self {
            Self::Socket(socket) => {
                let mut start = [0; 4];
                match socket.peek(&mut start) {
                    Ok(None | Some(1..=3)) => Class::Unknown,
                    Ok(Some(4)) => Class::of(start),
                    Ok(_) | Err(_) => Class::Closed,
                }
            }
            Self::Heard(hearing) => match &*hearing.heard() {
                None => Class::Unknown,
                Some(Ok(introduced)) => Class::of(introduced.start),
                Some(Err(error)) => Class::Failed(error.to_string()),
            },
        }
    }

    /// The connection, from its first byte on. One that is still heard makes whoever receives wait for that.
    pub(super) fn into_transport(self, tls: &ServerSide) -> Box<dyn Transport> {
        match self {
            Self::Socket(socket) => tls.accept(socket),
            Self::Heard(hearing) => Box::new(Announced::new(hearing)),
        }
    }
}

impl Class {
    fn of(start: [u8; 4]) -> Self {
        match u32::from_be_bytes(start) {
            MAIN_MAGIC => Self::Main,
            MULTIFD_MAGIC => Self::Channel,
            _ => Self::Other(start),
        }
    }
}
