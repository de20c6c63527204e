// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

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
#[non_exhaustive]
pub enum Command {
    /// Open the return path: from now on the source expects messages, at least a final SHUT.
    OpenReturnPath,
    /// Answer with a PONG of the same value.
    Ping(u32),
    /// Postcopy may follow: the source has the capability `postcopy-ram`, or without page sizes only
    /// `dirty-bitmaps`. If it never does, the migration is as any other.
    PostcopyAdvise(Option<PageSizes>),
    /// The source has stopped its guest; device state may come over the channels. Since QEMU 10.0.
    SwitchoverStart,
}

/// The page sizes of a source with the capability `postcopy-ram`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageSizes {
    /// All sizes of pages that its host has given to RAM blocks, a bit for each.
    pub host: u64,
    /// That of the guest.
    pub target: u64,
}

impl Command {
    /// The command's number.
    pub fn id(self) -> CommandId {
        match self {
            Self::OpenReturnPath => CommandId::OPEN_RETURN_PATH,
            Self::Ping(_) => CommandId::PING,
            Self::PostcopyAdvise(_) => CommandId::POSTCOPY_ADVISE,
            Self::SwitchoverStart => CommandId::SWITCHOVER_START,
        }
    }

    /// Reads what follows the byte `0x08`.
    pub(super) fn read(reader: &mut Reader) -> Result<Self, StreamError> {
        let at = reader.offset();
        let id = CommandId(reader.u16("a command")?);
        let len = reader.u16("a command's length")?;
        let want = match id {
            CommandId::OPEN_RETURN_PATH | CommandId::SWITCHOVER_START => "0",
            CommandId::PING => "4",
            CommandId::POSTCOPY_ADVISE => "0 or 16",
            _ => return Err(reader.wrong(at, Problem::Command { got: id })),
        };
        if !id.may_have(len) {
            let want = format_args!("{want} for {id}");
            return Err(reader.wrong(at, Problem::value("a command's length", len, want)));
        }
        Ok(match id {
            CommandId::PING => Self::Ping(reader.u32("the value of PING")?),
            CommandId::OPEN_RETURN_PATH => Self::OpenReturnPath,
            CommandId::POSTCOPY_ADVISE if len == 0 => Self::PostcopyAdvise(None),
            CommandId::POSTCOPY_ADVISE => Self::PostcopyAdvise(Some(PageSizes {
                host: reader.u64("the page sizes of POSTCOPY_ADVISE")?,
                target: reader.u64("the page sizes of POSTCOPY_ADVISE")?,
            })),
            _ => Self::SwitchoverStart,
        })
    }

    /// Writes the command, from the byte `0x08` on.
    pub(super) fn write(self, writer: &mut Writer) -> Result<(), StreamError> {
        writer.put(&self.encode())
    }

    /// The command, from the byte `0x08` on.
    pub(crate) fn encode(self) -> Vec<u8> {
        let (len, data) = match self {
            Self::Ping(value) => (4_u16, value.to_be_bytes().to_vec()),
            Self::PostcopyAdvise(Some(PageSizes { host, target })) => {
                (16, [host.to_be_bytes(), target.to_be_bytes()].concat())
            }
            Self::OpenReturnPath | Self::PostcopyAdvise(None) | Self::SwitchoverStart => {
                (0, Vec::new())
            }
        };
        let mut bytes = vec![SectionType::COMMAND.0];
        bytes.extend(self.id().0.to_be_bytes());
        bytes.extend(len.to_be_bytes());
        bytes.extend(data);
        bytes
    }
}
