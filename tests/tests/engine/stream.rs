// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Packets made and read by hand.

use multifd_core::wire::{INIT_PACKET_LEN, InitPacket, Uuid};

pub(crate) const PAGE: usize = 4096;
/// Header of a RAM packet with 4 KiB pages.
pub(crate) const HEADER: usize = 1344;
pub(crate) const DEVICE_STATE_HEADER: usize = 276;

pub(crate) const FLAGS: usize = 8;
pub(crate) const PAGES_ALLOC: usize = 12;
pub(crate) const NORMAL_PAGES: usize = 16;
pub(crate) const NEXT_PACKET_SIZE: usize = 20;
pub(crate) const PACKET_NUM: usize = 24;
pub(crate) const ZERO_PAGES: usize = 32;
pub(crate) const NAME: usize = 64;
pub(crate) const OFFSETS: usize = 320;

/// The initial packet of a channel.
pub(crate) fn init(channel: u8) -> Vec<u8> {
    let packet = InitPacket {
        uuid: Uuid::default(),
        channel,
    };
    packet.encode().to_vec()
}

/// A SYNC packet.
pub(crate) fn sync() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    put(&mut bytes, 0, 0x1122_3344);
    put(&mut bytes, 4, 1);
    put(&mut bytes, FLAGS, 1);
    bytes
}

/// A packet of the method `none` for the block `ram`: pages each filled with a byte of its own,
/// then zero pages.
pub(crate) fn packet(normal: &[u64], zero: &[u64]) -> Vec<u8> {
    let mut bytes = sync();
    put(&mut bytes, FLAGS, 0);
    put(&mut bytes, PAGES_ALLOC, 128);
    put(&mut bytes, NORMAL_PAGES, normal.len() as u32);
    put(&mut bytes, NEXT_PACKET_SIZE, (normal.len() * PAGE) as u32);
    put(&mut bytes, ZERO_PAGES, zero.len() as u32);
    bytes[NAME..NAME + 3].copy_from_slice(b"ram");
    for (at, offset) in normal.iter().chain(zero).enumerate() {
        put_u64(&mut bytes, OFFSETS + 8 * at, *offset);
    }
    for offset in normal {
        bytes.extend([page_byte(*offset); PAGE]);
    }
    bytes
}

/// What [`packet`] fills a page with.
pub(crate) fn page_byte(offset: u64) -> u8 {
    (offset / PAGE as u64 % 255) as u8 + 1
}

/// A device state packet.
pub(crate) fn device_state(idstr: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = sync()[..DEVICE_STATE_HEADER].to_vec();
    put(&mut bytes, FLAGS, 0x40);
    bytes[12..12 + idstr.len()].copy_from_slice(idstr.as_bytes());
    put(&mut bytes, 272, data.len() as u32);
    bytes.extend(data);
    bytes
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

pub(crate) fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn number_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Takes the bytes of a channel apart: initial packet, and RAM packets with their payload.
pub(crate) fn split(channel: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let (init, mut rest) = channel.split_at(INIT_PACKET_LEN);
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let len = HEADER + number(rest, NEXT_PACKET_SIZE) as usize;
        let (packet, after) = rest.split_at(len);
        packets.push(packet);
        rest = after;
    }
    (init, packets)
}
