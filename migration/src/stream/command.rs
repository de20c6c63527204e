//! Commands: what the source asks of the destination between sections.
//!
//! | size | field |
//! |---|---|
//! | 1 | `0x08` |
//! | 2 | [command](CommandId) |
//! | 2 | length of the data |
//! | .. | data |

use super::ids::CommandId;
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
        writer.put(&self.encode())
    }

    /// The command, from the byte `0x08` on.
    pub(crate) fn encode(self) -> Vec<u8> {
        let data = match self {
            Self::Ping(value) => Some(value.to_be_bytes()),
            Self::OpenReturnPath | Self::SwitchoverStart => None,
        };
        let len = if data.is_some() { 4_u16 } else { 0 };
        let mut bytes = vec![SectionType::COMMAND.0];
        bytes.extend(self.id().0.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.extend(data.into_iter().flatten());
        bytes
    }
}
