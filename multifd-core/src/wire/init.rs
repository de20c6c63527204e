// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The initial packet: who a new connection is.

use super::error::WireError;
use super::field;
use super::flags::{COMMON_HEADER_LEN, MULTIFD_MAGIC, MULTIFD_VERSION, PacketFlags};
use super::uuid::Uuid;
use crate::geometry::{ChannelCount, ChannelId};

/// Length in bytes of the initial packet.
pub const INIT_PACKET_LEN: usize = 64;

const UUID_OFFSET: usize = 8;
const ID_OFFSET: usize = 24;

/// The first 64 bytes of every multifd connection.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | magic |
/// | 4 | 4 | version |
/// | 8 | 16 | UUID |
/// | 24 | 1 | channel number |
/// | 25 | 39 | reserved, 0 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitPacket {
    /// The VM that is migrated.
    pub uuid: Uuid,
    /// The number that the channel gives itself.
    pub channel: u8,
}

impl InitPacket {
    /// The packet's bytes.
    pub fn encode(&self) -> [u8; INIT_PACKET_LEN] {
        let mut bytes = [0; INIT_PACKET_LEN];
        field::put::<0, 4, _>(&mut bytes, MULTIFD_MAGIC.to_be_bytes());
        field::put::<4, 4, _>(&mut bytes, MULTIFD_VERSION.to_be_bytes());
        field::put::<UUID_OFFSET, 16, _>(&mut bytes, self.uuid.0);
        field::put::<ID_OFFSET, 1, _>(&mut bytes, [self.channel]);
        bytes
    }

    /// Reads a packet. Reserved bytes are ignored.
    ///
    /// # Errors
    /// A magic or a version that is not multifd's.
    pub fn decode(bytes: &[u8; INIT_PACKET_LEN]) -> Result<Self, WireError> {
        PacketFlags::read(&field::bytes::<0, COMMON_HEADER_LEN, _>(bytes))?;
        let [channel] = field::bytes::<ID_OFFSET, 1, _>(bytes);
        Ok(Self {
            uuid: Uuid(field::bytes::<UUID_OFFSET, 16, _>(bytes)),
            channel,
        })
    }

    /// Checks the packet against this side: the UUID is compared always, also when it is all zero.
    ///
    /// # Errors
    /// Another VM's UUID, or a number that is not below `channels`.
    pub fn check(&self, uuid: Uuid, channels: ChannelCount) -> Result<ChannelId, WireError> {
        if self.uuid != uuid {
            return Err(WireError::Uuid {
                got: self.uuid,
                want: uuid,
            });
        }
        channels.channel(self.channel).ok_or(WireError::ChannelId {
            got: self.channel,
            channels: channels.count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_layout() {
        let uuid = Uuid::parse("12345678-1234-5678-9abc-def012345678").unwrap();
        let packet = InitPacket { uuid, channel: 3 };
        let bytes = packet.encode();
        assert_eq!(bytes[..9], [0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1, 0x12]);
        assert_eq!(bytes[24], 3);
        assert_eq!(bytes[25..], [0; 39]);
        assert_eq!(InitPacket::decode(&bytes), Ok(packet));
        assert_eq!(uuid.to_string(), "12345678-1234-5678-9abc-def012345678");
    }

    #[test]
    fn a_wrong_peer_is_told_apart() {
        let channels = ChannelCount::new(2).unwrap();
        let mut bytes = InitPacket {
            uuid: Uuid::default(),
            channel: 2,
        }
        .encode();
        let packet = InitPacket::decode(&bytes).unwrap();
        assert_eq!(
            packet.check(Uuid::default(), channels),
            Err(WireError::ChannelId {
                got: 2,
                channels: 2
            })
        );
        assert!(matches!(
            packet.check(Uuid([1; 16]), channels),
            Err(WireError::Uuid { .. })
        ));
        bytes[7] = 2;
        assert_eq!(
            InitPacket::decode(&bytes),
            Err(WireError::Version { got: 2 })
        );
        bytes[0] = 0x51;
        assert!(matches!(
            InitPacket::decode(&bytes),
            Err(WireError::Magic { .. })
        ));
    }
}
