// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a connection has said of itself so far, as far as that can be seen without taking it.

use multifd_core::transport::{SocketTransport, Transport as _};
use multifd_core::wire::{INIT_PACKET_LEN, InitPacket, MAIN_MAGIC, MULTIFD_MAGIC, Uuid};
use multifd_migration::stream::Configuration;

/// The first words of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has not shaken hands yet: no main connection of channels that are there, as that one does so first. It may be a
    /// channel.
    Handshake,
    /// Nothing, or too little to know: a main connection of a source that has not made all of its channels, a
    /// channel whose first packet is under way, or a stranger.
    Nothing,
    /// The magic of a main connection and no more. A relay says so much before its channels are there.
    Magic,
    /// The head of a main stream, with the guest's UUID if the source names it there: all channels are made.
    Head(Option<Uuid>),
    /// A channel's first packet.
    Channel(InitPacket),
    /// Something that no source begins with.
    Other([u8; 4]),
    /// Its end.
    End,
}

impl Said {
    /// Whether it is not known yet what the connection is.
    pub(super) fn is_too_little(self) -> bool {
        matches!(self, Self::Handshake | Self::Nothing | Self::Magic)
    }

    /// What has come on `connection`, which keeps it.
    pub(super) fn on(connection: &SocketTransport) -> Self {
        let mut bytes = [0; ENOUGH];
        match connection.peek(&mut bytes) {
            Ok(None) => Self::Nothing,
            Ok(Some(0)) | Err(_) => Self::End,
            // It is of no use, whoever has made it. What is whole may be all that a small guest has.
            Ok(Some(count)) if connection.has_ended() => {
                match Self::from_bytes(bytes.get(..count).unwrap_or_default()) {
                    Self::Nothing | Self::Magic => Self::End,
                    said => said,
                }
            }
            Ok(Some(count)) => Self::from_bytes(bytes.get(..count).unwrap_or_default()),
        }
    }

    /// What these first bytes say.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let Some((&magic, rest)) = bytes.split_first_chunk() else {
            return Self::Nothing;
        };
        match u32::from_be_bytes(magic) {
            MAIN_MAGIC if rest.is_empty() => Self::Magic,
            MAIN_MAGIC => match Configuration::at_start_of(bytes) {
                Ok(Some(configuration)) => Self::Head(configuration.uuid),
                Ok(None) if bytes.len() < ENOUGH => Self::Magic,
                // What is wrong with it is for the migration to say.
                Ok(None) | Err(_) => Self::Head(None),
            },
            MULTIFD_MAGIC => match bytes
                .first_chunk::<INIT_PACKET_LEN>()
                .map(InitPacket::decode)
            {
                Some(Ok(packet)) => Self::Channel(packet),
                Some(Err(_)) => Self::Other(magic),
                None => Self::Nothing,
            },
            _ => Self::Other(magic),
        }
    }
}

/// Most connections at once of which nothing is known: all that a source can make, and some strangers beside them.
pub(super) const MOST: usize = 256 + 64;
/// More than the configuration at the start of a main stream has.
pub(super) const ENOUGH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_beginning_is_told_from_the_others() {
        let packet = InitPacket {
            uuid: Uuid([7; 16]),
            channel: 3,
        };
        let channel = packet.encode();
        let mut damaged = channel;
        damaged[7] = 9;
        let head = b"QEVM\0\0\0\x03\x07\0\0\0\x02pc\x01";
        for (bytes, said) in [
            (&b""[..], Said::Nothing),
            (b"QEV", Said::Nothing),
            (b"QEVM", Said::Magic),
            (&head[..head.len() - 1], Said::Magic),
            (head, Said::Head(None)),
            (b"QEVM\0\0\0\x02", Said::Head(None)),
            (&channel[..63], Said::Nothing),
            (&channel, Said::Channel(packet)),
            (&damaged, Said::Other([0x11, 0x22, 0x33, 0x44])),
            (b"GET / HTTP/1.1", Said::Other(*b"GET ")),
        ] {
            assert_eq!(Said::from_bytes(bytes), said, "{}", bytes.escape_ascii());
        }
    }
}
