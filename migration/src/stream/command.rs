//! Commands: what the source asks of the destination between sections.
//!
//! | size | field |
//! |---|---|
//! | 1 | `0x08` |
//! | 2 | [command](CommandId) |
//! | 2 | length of the data |
//! | .. | data |

use std::fmt;

use super::section::SectionType;
use super::{Problem, Reader, StreamError, Writer};

/// A command of a precopy migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Open the return path: from now on the source expects messages, at least a final SHUT.
    OpenReturnPath,
    /// Answer with a PONG of the same value.
    Ping(u32),
    /// The source has stopped its guest; device state may come over the channels. Since QEMU 10.0.
    SwitchoverStart,
}

/// The number of a command.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(pub u16);

impl Command {
    /// The command's number.
    pub fn id(self) -> CommandId {
        match self {
            Self::OpenReturnPath => CommandId::OPEN_RETURN_PATH,
            Self::Ping(_) => CommandId::PING,
            Self::SwitchoverStart => CommandId::SWITCHOVER_START,
        }
    }

    /// Reads what follows the byte `0x08`.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, StreamError> {
        let at = reader.offset();
        let id = CommandId(reader.u16("a command")?);
        let len = reader.u16("a command's length")?;
        let want: u16 = match id {
            CommandId::OPEN_RETURN_PATH | CommandId::SWITCHOVER_START => 0,
            CommandId::PING => 4,
            _ => return Err(reader.wrong(at, Problem::Command { got: id })),
        };
        if len != want {
            let problem =
                Problem::value("a command's length", len, format_args!("{want} for {id}"));
            return Err(reader.wrong(at, problem));
        }
        Ok(match id {
            CommandId::PING => Self::Ping(reader.u32("the value of PING")?),
            CommandId::OPEN_RETURN_PATH => Self::OpenReturnPath,
            _ => Self::SwitchoverStart,
        })
    }

    /// Writes the command, from the byte `0x08` on.
    pub(super) fn write(self, writer: &mut Writer) -> Result<(), StreamError> {
        writer.put(&[SectionType::COMMAND.0])?;
        writer.put(&self.id().0.to_be_bytes())?;
        match self {
            Self::Ping(value) => {
                writer.put(&4_u16.to_be_bytes())?;
                writer.put(&value.to_be_bytes())
            }
            Self::OpenReturnPath | Self::SwitchoverStart => writer.put(&0_u16.to_be_bytes()),
        }
    }
}

impl CommandId {
    /// See [`Command::OpenReturnPath`].
    pub const OPEN_RETURN_PATH: Self = Self(1);
    /// See [`Command::Ping`].
    pub const PING: Self = Self(2);
    /// Postcopy may follow.
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
    /// See [`Command::SwitchoverStart`].
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

    /// What to do when a source sends this command and it is not taken.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::ENABLE_COLO => "turn off the capability x-colo at the source",
            Self(3..=10) => {
                "turn off the capabilities postcopy-ram and dirty-bitmaps at the source"
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
