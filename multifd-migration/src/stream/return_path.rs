// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the destination says to the source, on the same connection the other way.
//!
//! | size | field |
//! |---|---|
//! | 2 | [type](MessageId) |
//! | 2 | length of the data |
//! | .. | data |

use std::time::Duration;

use multifd_core::transport::Transport;

use super::ids::MessageId;
use super::{Direction, Position, Problem, Reader, StreamError};

/// A message of a precopy migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReturnMessage {
    /// The last message: 0 if everything was received and is safe, anything else if it failed.
    /// Without it a QEMU source that opened the return path does not complete.
    Shut(u32),
    /// The answer to a PING, with its value.
    Pong(u32),
    /// The destination is ready for the switchover. Waited for with the capability
    /// `switchover-ack` only.
    SwitchoverAck,
}

/// The source's end of the return path.
#[derive(Debug)]
pub struct ReturnReader {
    reader: Reader,
    /// The start of a message that has not come wholly.
    partial: Vec<u8>,
}

impl ReturnMessage {
    /// The message's type.
    pub fn id(self) -> MessageId {
        match self {
            Self::Shut(_) => MessageId::SHUT,
            Self::Pong(_) => MessageId::PONG,
            Self::SwitchoverAck => MessageId::SWITCHOVER_ACK,
        }
    }

    /// The message's bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = self.id().0.to_be_bytes().to_vec();
        match self {
            Self::Shut(value) | Self::Pong(value) => {
                bytes.extend(4_u16.to_be_bytes());
                bytes.extend(value.to_be_bytes());
            }
            Self::SwitchoverAck => bytes.extend(0_u16.to_be_bytes()),
        }
        bytes
    }

    /// Reads a message from the front of `bytes`: `None` as long as it is not all there. Returns how
    /// many bytes it took.
    ///
    /// # Errors
    /// A type that this source does not take, or a length that the type does not have.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Problem> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [id_high, id_low, len_high, len_low] = *header;
        let id = MessageId(u16::from_be_bytes([id_high, id_low]));
        let len = u16::from_be_bytes([len_high, len_low]);
        let want = match id {
            MessageId::SHUT | MessageId::PONG => 4,
            MessageId::SWITCHOVER_ACK => 0,
            _ => return Err(Problem::Message { got: id }),
        };
        if len != want {
            let want = format_args!("{want} for {id}");
            return Err(Problem::value("a message's length", len, want));
        }
        if id == MessageId::SWITCHOVER_ACK {
            return Ok(Some((Self::SwitchoverAck, HEADER_LEN)));
        }
        let Some(value) = rest.first_chunk().copied().map(u32::from_be_bytes) else {
            return Ok(None);
        };
        let message = match id {
            MessageId::SHUT => Self::Shut(value),
            _ => Self::Pong(value),
        };
        Ok(Some((message, HEADER_LEN + 4)))
    }
}

impl ReturnReader {
    /// The return path of the main connection that `transport` belongs to.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            reader: Reader::with_direction(transport, &[], Direction::ReturnPath),
            partial: Vec::new(),
        }
    }

    /// The longest that a call may wait.
    pub(crate) fn set_time_limit(&mut self, limit: Duration) {
        self.reader.transport_mut().set_time_limit(Some(limit));
    }

    /// Waits for the next message; `None` if the destination has closed the connection between two.
    ///
    /// After [`StreamError::Receive`] it may be called again, for instance when the transport's time
    /// limit has passed: nothing of a message that has come in part is lost.
    ///
    /// # Errors
    /// The transport's, the end of the stream inside of a message, and a message that this source
    /// does not take.
    pub fn next_message(&mut self) -> Result<Option<ReturnMessage>, StreamError> {
        loop {
            let start = self.start();
            let decoded = ReturnMessage::decode(&self.partial)
                .map_err(|problem| self.reader.wrong(start.offset, problem))?;
            if let Some((message, _)) = decoded {
                // No byte is taken before a message wants it, so there are none behind it.
                self.partial.clear();
                return Ok(Some(message));
            }
            if !self.reader.fill()? {
                if self.partial.is_empty() {
                    return Ok(None);
                }
                return Err(StreamError::Ended {
                    at: start,
                    what: "a message",
                    got: self.partial.len(),
                    want: self.wanted(),
                });
            }
            if let Some(byte) = self.reader.available().first() {
                self.partial.push(*byte);
                self.reader.consume(1);
            }
        }
    }

    /// The transport, for instance to limit how long it may block.
    pub fn transport_mut(&mut self) -> &mut dyn Transport {
        self.reader.transport_mut()
    }

    /// Where the message that is being read began.
    fn start(&self) -> Position {
        let read = self.partial.len() as u64;
        let mut at = self.reader.position();
        at.offset = at.offset.saturating_sub(read);
        at
    }

    /// How long the message is that is being read, as far as that is known.
    fn wanted(&self) -> usize {
        match self.partial.first_chunk::<HEADER_LEN>() {
            Some([_, _, high, low]) => HEADER_LEN + usize::from(u16::from_be_bytes([*high, *low])),
            None => HEADER_LEN,
        }
    }
}

const HEADER_LEN: usize = 4;
