// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that are not the source's.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::wire::WireError;

/// Why a new connection is not taken for one of the source's: a half sentence about it.
#[derive(Clone, Debug)]
pub(crate) enum Stranger {
    /// It was closed too early.
    Closed { got: usize },
    /// It said too little for too long.
    Silent { got: usize, limit: Duration },
    /// Its first bytes are not those of any connection of a migration.
    Start([u8; 4]),
    /// Its initial packet cannot be right, or is that of a channel that is there already.
    InitPacket(WireError),
    /// There is a main connection already.
    SecondMain,
    /// It said nothing for longer than others, of whom there were too many.
    CrowdedOut,
    /// The connection failed.
    Broken { kind: io::ErrorKind, text: String },
}

impl Stranger {
    /// What a transport reported when `got` bytes had come.
    pub(super) fn broken(error: &io::Error, got: usize, limit: Duration) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Silent { got, limit },
            kind => Self::Broken {
                kind,
                text: error.to_string(),
            },
        }
    }

    /// Whether this side has interrupted the connection, so that it says nothing of it.
    pub(crate) fn is_interrupt(&self) -> bool {
        let kind = io::ErrorKind::Interrupted;
        matches!(self, Self::Broken { kind: got, .. } if *got == kind)
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { got } => write!(f, "it ended after {got} bytes"),
            Self::Silent { got, limit } => {
                let seconds = limit.as_secs_f32();
                write!(f, "it sent only {got} bytes within {seconds} s")
            }
            // A handshake record, of whatever version.
            Self::Start([0x16, ..]) => f.write_str("it looks like TLS"),
            Self::Start(bytes) => {
                let bytes = bytes.escape_ascii();
                write!(f, "it began with \"{bytes}\" as no migration does")
            }
            Self::InitPacket(error) => write!(f, "its initial packet was wrong: {error}"),
            Self::SecondMain => f.write_str("there was a main connection already"),
            Self::CrowdedOut => {
                f.write_str("it had not identified itself when too many others came")
            }
            Self::Broken { text, .. } => write!(f, "it failed: {text}"),
        }
    }
}
