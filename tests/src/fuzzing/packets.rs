// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The packets of a channel, next to what the engine makes of them.

use multifd_core::PageSize;
use multifd_core::wire::{
    COMMON_HEADER_LEN, DEVICE_STATE_HEADER_LEN, DeviceStateHeader, INIT_PACKET_LEN, PacketFlags,
    RamHeader, ram_header_len,
};

/// A packet of a channel.
#[derive(Clone, Copy, Default)]
pub(super) struct Packet {
    pub(super) len: usize,
    pub(super) is_sync: bool,
    pub(super) is_device_state: bool,
    pub(super) pages: usize,
}

/// The first packet of these bytes, if all of it is there.
fn packet(bytes: &[u8]) -> Option<Packet> {
    let flags = PacketFlags::read(bytes.first_chunk::<COMMON_HEADER_LEN>()?).ok()?;
    if flags.is_device_state() {
        let header = DeviceStateHeader::decode(bytes.first_chunk()?).ok()?;
        let len = DEVICE_STATE_HEADER_LEN + header.payload_len as usize;
        return (bytes.len() >= len).then_some(Packet {
            len,
            is_device_state: true,
            ..Packet::default()
        });
    }
    let len = ram_header_len(PageSize::X86);
    let header = RamHeader::decode(bytes.get(..len)?, PageSize::X86).ok()?;
    let len = len + header.payload_len;
    (bytes.len() >= len).then_some(Packet {
        len,
        is_sync: flags.is_sync(),
        is_device_state: false,
        pages: header.normal_pages() + header.zero_pages(),
    })
}

/// The packets of a channel behind its initial packet, as far as they are whole.
pub(super) fn packets(channel: &[u8]) -> impl Iterator<Item = (Packet, &[u8])> {
    let mut rest = channel.get(INIT_PACKET_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let packet = packet(rest)?;
        let (bytes, after) = rest.split_at_checked(packet.len)?;
        rest = after;
        Some((packet, bytes))
    })
}

/// A channel with its first packets of pages, and with all of its barriers.
pub(super) fn first_packets(channel: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = channel.get(..INIT_PACKET_LEN)?.to_vec();
    let mut full = 0;
    for (packet, packet_bytes) in packets(channel) {
        full += usize::from(packet.pages > 0);
        if packet.pages == 0 || packet.is_sync || (full <= 1 && packet.len <= MOST_BYTES) {
            bytes.extend(packet_bytes);
        }
    }
    Some(bytes)
}

/// How many pages come on a channel before so many barriers.
pub(super) fn pages_before(channel: &[u8], syncs: u64) -> usize {
    let (mut met, mut pages) = (0, 0);
    for (packet, _) in packets(channel) {
        if met == syncs {
            break;
        }
        pages += packet.pages;
        met += u64::from(packet.is_sync);
    }
    pages
}

/// Of a packet with pages in a seed: small ones change more often where it counts.
const MOST_BYTES: usize = 96 << 10;
