// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The numbers of commands and of the messages on the return path, with QEMU's names.

use std::fmt;

/// The number of a [`Command`](super::Command).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(pub u16);

/// The number of a [`ReturnMessage`](super::ReturnMessage)'s type.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId(pub u16);

impl CommandId {
    /// See [`Command::OpenReturnPath`](super::Command::OpenReturnPath).
    pub const OPEN_RETURN_PATH: Self = Self(1);
    /// See [`Command::Ping`](super::Command::Ping).
    pub const PING: Self = Self(2);
    /// See [`Command::PostcopyAdvise`](super::Command::PostcopyAdvise).
    pub const POSTCOPY_ADVISE: Self = Self(3);
    /// Postcopy: listen for pages.
    pub const POSTCOPY_LISTEN: Self = Self(4);
    /// Postcopy: run the guest.
    pub const POSTCOPY_RUN: Self = Self(5);
    /// Postcopy: forget pages that are still to change.
    pub const POSTCOPY_RAM_DISCARD: Self = Self(6);
    /// Postcopy: the device state in one package.
    pub const PACKAGED: Self = Self(7);
    /// Keep this side as the other's shadow.
    pub const ENABLE_COLO: Self = Self(8);
    /// Postcopy: go on after a lost connection.
    pub const POSTCOPY_RESUME: Self = Self(9);
    /// Postcopy: say which pages have come.
    pub const RECV_BITMAP: Self = Self(10);
    /// See [`Command::SwitchoverStart`](super::Command::SwitchoverStart).
    pub const SWITCHOVER_START: Self = Self(11);

    /// QEMU's name of the command, if it has one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::OPEN_RETURN_PATH => "OPEN_RETURN_PATH",
            Self::PING => "PING",
            Self::POSTCOPY_ADVISE => "POSTCOPY_ADVISE",
            Self::POSTCOPY_LISTEN => "POSTCOPY_LISTEN",
            Self::POSTCOPY_RUN => "POSTCOPY_RUN",
            Self::POSTCOPY_RAM_DISCARD => "POSTCOPY_RAM_DISCARD",
            Self::PACKAGED => "PACKAGED",
            Self::ENABLE_COLO => "ENABLE_COLO",
            Self::POSTCOPY_RESUME => "POSTCOPY_RESUME",
            Self::RECV_BITMAP => "RECV_BITMAP",
            Self::SWITCHOVER_START => "SWITCHOVER_START",
            _ => return None,
        })
    }

    /// Whether the command may have data of this length.
    pub(super) fn may_have(self, len: u16) -> bool {
        match self {
            Self::PING | Self::PACKAGED => len == 4,
            Self::POSTCOPY_ADVISE => len == 0 || len == 16,
            Self::POSTCOPY_RAM_DISCARD | Self::RECV_BITMAP => len > 0,
            Self::OPEN_RETURN_PATH
            | Self::POSTCOPY_LISTEN
            | Self::POSTCOPY_RUN
            | Self::ENABLE_COLO
            | Self::POSTCOPY_RESUME
            | Self::SWITCHOVER_START => len == 0,
            _ => false,
        }
    }

    /// What to do when a source sends this command and it is not taken.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::ENABLE_COLO => "turn off the capability x-colo at the source",
            Self(4..=7 | 9..=10) => {
                "postcopy has begun at the source, wanted a migration without migrate-start-postcopy"
            }
            _ => "the stream is damaged, or the source is newer than this program",
        }
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MessageId {
    /// See [`ReturnMessage::Shut`](super::ReturnMessage::Shut).
    pub const SHUT: Self = Self(1);
    /// See [`ReturnMessage::Pong`](super::ReturnMessage::Pong).
    pub const PONG: Self = Self(2);
    /// Postcopy: send these pages of a block.
    pub const REQ_PAGES_ID: Self = Self(3);
    /// Postcopy: send these pages of the block that was named last.
    pub const REQ_PAGES: Self = Self(4);
    /// Postcopy: these pages have come.
    pub const RECV_BITMAP: Self = Self(5);
    /// Postcopy: ready to go on after a lost connection.
    pub const RESUME_ACK: Self = Self(6);
    /// See [`ReturnMessage::SwitchoverAck`](super::ReturnMessage::SwitchoverAck).
    pub const SWITCHOVER_ACK: Self = Self(7);

    /// QEMU's name of the type, if it has one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SHUT => "SHUT",
            Self::PONG => "PONG",
            Self::REQ_PAGES_ID => "REQ_PAGES_ID",
            Self::REQ_PAGES => "REQ_PAGES",
            Self::RECV_BITMAP => "RECV_BITMAP",
            Self::RESUME_ACK => "RESUME_ACK",
            Self::SWITCHOVER_ACK => "SWITCHOVER_ACK",
            _ => return None,
        })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
