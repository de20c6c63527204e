// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The header of a device state packet (QEMU 10.0 and later).

use super::block_name::NAME_FIELD_LEN;
use super::error::WireError;
use super::field;
use super::flags::{COMMON_HEADER_LEN, PacketFlags};

/// Length in bytes of the header of a device state packet, the common 12 bytes included.
pub const DEVICE_STATE_HEADER_LEN: usize = NEXT_PACKET_SIZE + 4;

const IDSTR: usize = COMMON_HEADER_LEN;
const INSTANCE_ID: usize = IDSTR + NAME_FIELD_LEN;
const NEXT_PACKET_SIZE: usize = INSTANCE_ID + 4;

/// A decoded and checked header of a device state packet.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 12 | magic, version, flags (DEVICE_STATE, no method) |
/// | 12 | 256 | idstr of the device, NUL terminated |
/// | 268 | 4 | instance_id |
/// | 272 | 4 | next_packet_size: bytes that follow, at least 1 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceStateHeader<'a> {
    /// The device's id string, without its NUL.
    pub idstr: &'a [u8],
    /// The device's instance.
    pub instance_id: u32,
    /// How many bytes of opaque device state follow.
    pub payload_len: u32,
}

impl<'a> DeviceStateHeader<'a> {
    /// Most bytes that one packet may carry. QEMU has no limit; VFIO sends chunks of 1 MiB, so a
    /// larger one by far is a damaged or hostile stream.
    pub const MAX_PAYLOAD: u32 = 64 * 1024 * 1024;

    /// Reads a header.
    ///
    /// # Errors
    /// A magic or version that is not multifd's; the flag SYNC; a name without NUL; no payload, or
    /// more than [`Self::MAX_PAYLOAD`].
    pub fn decode(header: &'a [u8; DEVICE_STATE_HEADER_LEN]) -> Result<Self, WireError> {
        let flags = PacketFlags::read(&field::bytes::<0, COMMON_HEADER_LEN, _>(header))?;
        if flags.is_sync() {
            return Err(WireError::SyncDeviceState { got: flags });
        }
        let name = field::part::<IDSTR, NAME_FIELD_LEN, _>(header);
        if name.last() != Some(&0) {
            return Err(WireError::NameNotTerminated);
        }
        let payload_len = field::u32_at::<NEXT_PACKET_SIZE, _>(header);
        if payload_len == 0 || payload_len > Self::MAX_PAYLOAD {
            return Err(WireError::DeviceStateSize {
                got: payload_len,
                limit: Self::MAX_PAYLOAD,
            });
        }
        Ok(Self {
            idstr: field::name(name),
            instance_id: field::u32_at::<INSTANCE_ID, _>(header),
            payload_len,
        })
    }

    /// The header's bytes.
    ///
    /// # Errors
    /// [`WireError::NameNotTerminated`]: an idstr of more than 255 bytes.
    pub fn encode(&self) -> Result<[u8; DEVICE_STATE_HEADER_LEN], WireError> {
        let mut bytes = [0; DEVICE_STATE_HEADER_LEN];
        field::put_common(&mut bytes, PacketFlags::DEVICE_STATE);
        field::put_name::<IDSTR, _>(&mut bytes, self.idstr)?;
        field::put::<INSTANCE_ID, 4, _>(&mut bytes, self.instance_id.to_be_bytes());
        field::put::<NEXT_PACKET_SIZE, 4, _>(&mut bytes, self.payload_len.to_be_bytes());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: DeviceStateHeader<'static> = DeviceStateHeader {
        idstr: b"0000:00:02.0/vfio",
        instance_id: 1,
        payload_len: 5,
    };

    #[test]
    fn round_trip() {
        let bytes = HEADER.encode().unwrap();
        assert_eq!(bytes.len(), 276);
        assert_eq!(DeviceStateHeader::decode(&bytes), Ok(HEADER));
    }

    #[test]
    fn a_name_is_never_cut() {
        let encode = |idstr| DeviceStateHeader { idstr, ..HEADER }.encode();
        assert!(encode(&[b'x'; 255]).is_ok());
        assert_eq!(encode(&[b'x'; 256]), Err(WireError::NameNotTerminated));
        assert_eq!(encode(&[b'x'; 300]), Err(WireError::NameNotTerminated));
    }

    #[test]
    fn what_it_may_not_be() {
        let mut sync = HEADER.encode().unwrap();
        sync[11] |= 1;
        assert!(matches!(
            DeviceStateHeader::decode(&sync),
            Err(WireError::SyncDeviceState { .. })
        ));
        let mut unterminated = HEADER.encode().unwrap();
        unterminated[IDSTR..INSTANCE_ID].fill(b'x');
        assert_eq!(
            DeviceStateHeader::decode(&unterminated),
            Err(WireError::NameNotTerminated)
        );
        for payload_len in [0, DeviceStateHeader::MAX_PAYLOAD + 1] {
            let bytes = DeviceStateHeader {
                payload_len,
                ..HEADER
            }
            .encode()
            .unwrap();
            assert!(matches!(
                DeviceStateHeader::decode(&bytes),
                Err(WireError::DeviceStateSize { .. })
            ));
        }
    }
}
