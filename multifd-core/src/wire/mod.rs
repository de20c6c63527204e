// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The packets of a multifd channel, byte for byte as QEMU sends them.
//!
//! All integers are big endian. A channel starts with one 64-byte [initial packet](InitPacket);
//! after it come packets until the connection ends. Every packet starts with the same 12 bytes:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic `0x11223344` |
//! | 4 | 4 | version 1 |
//! | 8 | 4 | [flags](PacketFlags) |
//!
//! and goes on as a [RAM packet](RamHeader) or, with the flag `DEVICE_STATE`, as a
//! [device state packet](DeviceStateHeader). No reply is ever sent on a multifd channel.

mod block_name;
mod device_state;
mod error;
mod field;
mod flags;
mod init;
mod ram;
mod uuid;

pub use block_name::{BlockName, NAME_FIELD_LEN};
pub use device_state::{DEVICE_STATE_HEADER_LEN, DeviceStateHeader};
pub use error::WireError;
pub use flags::{
    COMMON_HEADER_LEN, MAIN_MAGIC, MULTIFD_MAGIC, MULTIFD_VERSION, MethodId, MethodIdentity,
    PacketFlags,
};
pub use init::{INIT_PACKET_LEN, InitPacket};
pub use ram::{PageOffsets, RamHeader, RamHeaderBuffer, TooManyPages, ram_header_len};
pub use uuid::Uuid;
