// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Single headers.

use anyhow::{Context, Result};
use multifd_core::PageSize;
use multifd_core::wire::{
    BlockName, DEVICE_STATE_HEADER_LEN, DeviceStateHeader, INIT_PACKET_LEN, InitPacket, MethodId,
    NAME_FIELD_LEN, PacketFlags, PageOffsets, RamHeader, RamHeaderBuffer, Uuid, ram_header_len,
};

use super::Target;
use crate::conformance::recorded::Folder;

/// The first packet of a channel.
pub(super) const INIT_PACKET: Target = Target {
    name: "init_packet",
    run: |bytes| {
        let Ok(packet) = InitPacket::decode(&padded::<INIT_PACKET_LEN>(bytes)) else {
            return false;
        };
        assert_eq!(InitPacket::decode(&packet.encode()), Ok(packet));
        true
    },
    seeds: || {
        let packet = InitPacket {
            uuid: Uuid([0x5a; 16]),
            channel: 7,
        };
        Ok(vec![
            packet.encode().to_vec(),
            recorded(0..INIT_PACKET_LEN)?,
        ])
    },
};

/// A RAM packet's header, for guests with small and large pages.
pub(super) const RAM_HEADER: Target = Target {
    name: "ram_header",
    run: |bytes| {
        let takes = [0x1000, 0x4000, 0x10000].map(|page| {
            let Some(page_size) = PageSize::new(page) else {
                return false;
            };
            let mut header = bytes.to_vec();
            header.resize(ram_header_len(page_size), 0);
            check_ram_header(&header, page_size)
        });
        takes.contains(&true)
    },
    seeds: || {
        let name = BlockName::new("pc.ram").context("name")?;
        let mut header = RamHeaderBuffer::new(PageSize::X86);
        header.set_sync(3);
        let sync = header.as_bytes().to_vec();
        let flags = PacketFlags::pages(MethodId::ZSTD);
        let pages = PageOffsets {
            normal: &[0, 0x3000],
            zero: &[0x1000],
        };
        header.set_pages(flags, 4, &name, pages, 0x1234)?;
        let len = ram_header_len(PageSize::X86);
        let first = INIT_PACKET_LEN + len;
        Ok(vec![
            sync,
            header.as_bytes().to_vec(),
            recorded(first..first + len)?,
        ])
    },
};

/// A device state packet's header.
pub(super) const DEVICE_STATE_HEADER: Target = Target {
    name: "device_state_header",
    run: |bytes| {
        let bytes = padded::<DEVICE_STATE_HEADER_LEN>(bytes);
        let Ok(header) = DeviceStateHeader::decode(&bytes) else {
            return false;
        };
        assert!(header.idstr.len() < NAME_FIELD_LEN);
        assert!((1..=DeviceStateHeader::MAX_PAYLOAD).contains(&header.payload_len));
        let encoded = header.encode();
        let decoded = encoded.as_ref().map(DeviceStateHeader::decode);
        assert_eq!(decoded, Ok(Ok(header)));
        true
    },
    seeds: || {
        let header = DeviceStateHeader {
            idstr: b"0000:00:02.0/vfio",
            instance_id: 1,
            payload_len: 0x10_0000,
        };
        Ok(vec![header.encode()?.to_vec()])
    },
};

fn check_ram_header(bytes: &[u8], page_size: PageSize) -> bool {
    let Ok(header) = RamHeader::decode(bytes, page_size) else {
        return false;
    };
    let (normal, zero) = (header.normal_pages(), header.zero_pages());
    assert!(normal + zero <= page_size.pages_per_packet());
    assert_eq!(header.offsets().count(), normal + zero);
    assert_eq!(header.is_empty(), normal + zero == 0);
    assert!(header.block.len() < NAME_FIELD_LEN && !header.block.contains(&0));
    assert!(normal > 0 || header.payload_len == 0);
    true
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut all = [0; N];
    for (to, from) in all.iter_mut().zip(bytes) {
        *to = *from;
    }
    all
}

/// A part of a channel that a real QEMU sent.
fn recorded(part: std::ops::Range<usize>) -> Result<Vec<u8>> {
    let channel = Folder::new("none-qemu-10.0").channel(0)?;
    Ok(channel.get(part).context("a recorded channel")?.to_vec())
}
