//! The header of a RAM packet.

use super::field;
use super::{BlockName, NAME_FIELD_LEN, PacketFlags, WireError};
use crate::geometry::PageSize;

const PAGES_ALLOC: usize = 12;
const NORMAL_PAGES: usize = 16;
const NEXT_PACKET_SIZE: usize = 20;
const PACKET_NUM: usize = 24;
const ZERO_PAGES: usize = 32;
const RAMBLOCK: usize = 64;
const OFFSETS: usize = RAMBLOCK + NAME_FIELD_LEN;

/// Length in bytes of the header of every RAM packet: 1344 for 4 KiB pages. It does not depend on
/// how many pages the packet lists.
pub const fn ram_header_len(page_size: PageSize) -> usize {
    OFFSETS + 8 * page_size.pages_per_packet()
}

/// A decoded and checked header of a RAM packet; block and offsets are looked up elsewhere.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 12 | magic, version, flags |
/// | 12 | 4 | pages_alloc: most pages that the sender puts in a packet; 0 in a SYNC packet |
/// | 16 | 4 | normal_pages: pages with payload, `n` |
/// | 20 | 4 | next_packet_size: bytes of payload after the header |
/// | 24 | 8 | packet_num: one count over all channels, for tracing |
/// | 32 | 4 | zero_pages, `z`; always 0 from QEMU before 9.0 |
/// | 36 | 28 | reserved, 0 |
/// | 64 | 256 | RAM block's name, NUL padded |
/// | 320 | 8 * N | offsets in the block: `n` normal pages, then `z` zero pages, then 0 |
///
/// The sender may leave stale bytes in whatever a packet does not use: they are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamHeader<'a> {
    /// The packet's flags.
    pub flags: PacketFlags,
    /// Number of the packet in the migration. Only for tracing; it orders nothing.
    pub packet_num: u64,
    /// Bytes of payload that follow. 0 whenever no page has payload, whatever the field said: old
    /// senders leave a stale size in a packet without pages.
    pub payload_len: usize,
    /// Name of the RAM block, without its NUL; empty if there are no pages.
    pub block: &'a [u8],
    normal: &'a [u8],
    zero: &'a [u8],
}

impl<'a> RamHeader<'a> {
    /// Reads a header of [`ram_header_len`] bytes.
    ///
    /// # Errors
    /// A magic or version that is not multifd's; more pages than a packet can list; SYNC together
    /// with DEVICE_STATE.
    pub fn decode(header: &'a [u8], page_size: PageSize) -> Result<Self, WireError> {
        let flags = PacketFlags::read(&field::bytes(header, 0))?;
        let limit = page_limit(page_size);
        let alloc = capped("pages_alloc", field::u32_at(header, PAGES_ALLOC), limit)?;
        let normal = capped("normal_pages", field::u32_at(header, NORMAL_PAGES), alloc)?;
        let zero = capped(
            "zero_pages",
            field::u32_at(header, ZERO_PAGES),
            alloc - normal,
        )?;
        let (normal, zero) = (normal as usize, zero as usize);

        let name = header.get(RAMBLOCK..OFFSETS - 1).unwrap_or_default();
        let offsets = header.get(OFFSETS..).unwrap_or_default();
        let (normal_offsets, rest) = offsets.split_at_checked(8 * normal).unwrap_or_default();
        Ok(Self {
            flags,
            packet_num: field::u64_at(header, PACKET_NUM),
            payload_len: if normal == 0 {
                0
            } else {
                field::u32_at(header, NEXT_PACKET_SIZE) as usize
            },
            block: if normal + zero == 0 {
                &[]
            } else {
                field::name(name)
            },
            normal: normal_offsets,
            zero: rest.get(..8 * zero).unwrap_or_default(),
        })
    }

    /// How many pages have payload.
    pub fn normal_pages(&self) -> usize {
        self.normal.len() / 8
    }

    /// How many pages are zero.
    pub fn zero_pages(&self) -> usize {
        self.zero.len() / 8
    }

    /// Whether the packet lists no page at all: a pure barrier, or the empty packet of an old
    /// sender.
    pub fn is_empty(&self) -> bool {
        self.normal.is_empty() && self.zero.is_empty()
    }

    /// Offsets in bytes of the normal pages, then of the zero pages, in the order of the packet.
    pub fn offsets(&self) -> impl Iterator<Item = u64> + 'a {
        let (normal, zero) = (self.normal.chunks_exact(8), self.zero.chunks_exact(8));
        normal.chain(zero).map(|bytes| field::u64_at(bytes, 0))
    }
}

/// The bytes of a header that a channel sends again and again.
#[derive(Debug)]
pub struct RamHeaderBuffer {
    bytes: Vec<u8>,
    /// How many offsets the last header had: only those have to be cleared.
    used: usize,
}

impl RamHeaderBuffer {
    /// Makes room for a header.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            bytes: vec![0; ram_header_len(page_size)],
            used: 0,
        }
    }

    /// Writes the header of a packet with pages. `offsets` are those of the normal pages, then
    /// those of the zero pages; `normal` says how many of them are normal.
    pub fn set_pages(
        &mut self,
        flags: PacketFlags,
        packet_num: u64,
        block: &BlockName,
        offsets: &[u64],
        normal: usize,
        payload_len: u32,
    ) {
        let alloc = self.bytes.len().saturating_sub(OFFSETS) / 8;
        self.set_fixed(flags, packet_num);
        field::put(&mut self.bytes, PAGES_ALLOC, &wire_count(alloc));
        field::put(&mut self.bytes, NORMAL_PAGES, &wire_count(normal));
        field::put(
            &mut self.bytes,
            NEXT_PACKET_SIZE,
            &payload_len.to_be_bytes(),
        );
        field::put(
            &mut self.bytes,
            ZERO_PAGES,
            &wire_count(offsets.len() - normal),
        );
        field::put(&mut self.bytes, RAMBLOCK, block.as_str().as_bytes());
        for (at, offset) in offsets.iter().enumerate() {
            field::put(&mut self.bytes, OFFSETS + 8 * at, &offset.to_be_bytes());
        }
        self.used = offsets.len();
    }

    /// Writes the header of a SYNC packet.
    pub fn set_sync(&mut self, packet_num: u64) {
        self.set_fixed(PacketFlags::SYNC, packet_num);
        self.used = 0;
    }

    /// The header as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn set_fixed(&mut self, flags: PacketFlags, packet_num: u64) {
        let dirty = OFFSETS + 8 * self.used;
        if let Some(bytes) = self.bytes.get_mut(..dirty) {
            bytes.fill(0);
        }
        field::put_common(&mut self.bytes, flags);
        field::put(&mut self.bytes, PACKET_NUM, &packet_num.to_be_bytes());
    }
}

fn page_limit(page_size: PageSize) -> u32 {
    u32::try_from(page_size.pages_per_packet()).unwrap_or(u32::MAX)
}

fn wire_count(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes()
}

fn capped(what: &'static str, got: u32, limit: u32) -> Result<u32, WireError> {
    if got > limit {
        return Err(WireError::Count { what, got, limit });
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::MethodId;

    fn header(offsets: &[u64], normal: usize) -> RamHeaderBuffer {
        let mut buffer = RamHeaderBuffer::new(PageSize::X86);
        let block = BlockName::new("pc.ram").unwrap();
        buffer.set_pages(
            PacketFlags::pages(MethodId::ZSTD),
            7,
            &block,
            offsets,
            normal,
            99,
        );
        buffer
    }

    #[test]
    fn round_trip() {
        let buffer = header(&[0x3000, 0x1000, 0x2000], 2);
        assert_eq!(buffer.as_bytes().len(), 1344);
        let decoded = RamHeader::decode(buffer.as_bytes(), PageSize::X86).unwrap();
        assert_eq!(decoded.flags.method(), MethodId::ZSTD);
        assert_eq!((decoded.packet_num, decoded.payload_len), (7, 99));
        assert_eq!((decoded.normal_pages(), decoded.zero_pages()), (2, 1));
        assert_eq!(decoded.block, b"pc.ram");
        assert_eq!(
            decoded.offsets().collect::<Vec<_>>(),
            [0x3000, 0x1000, 0x2000]
        );
    }

    #[test]
    fn sync_after_pages_leaves_nothing_behind() {
        let mut buffer = header(&[0x3000; 128], 128);
        buffer.set_sync(8);
        let mut want = RamHeaderBuffer::new(PageSize::X86);
        want.set_sync(8);
        assert_eq!(buffer.as_bytes(), want.as_bytes());
        let decoded = RamHeader::decode(buffer.as_bytes(), PageSize::X86).unwrap();
        assert!(decoded.is_empty() && decoded.flags.is_sync());
    }

    #[test]
    fn counts_that_lie() {
        for (field_offset, value, what) in [
            (PAGES_ALLOC, 129, "pages_alloc"),
            (NORMAL_PAGES, 129, "normal_pages"),
            (ZERO_PAGES, 127, "zero_pages"),
            (ZERO_PAGES, u32::MAX, "zero_pages"),
        ] {
            let mut bytes = header(&[0, 0x1000], 2).as_bytes().to_vec();
            field::put(&mut bytes, field_offset, &value.to_be_bytes());
            match RamHeader::decode(&bytes, PageSize::X86) {
                Err(WireError::Count { what: got, .. }) => assert_eq!(got, what),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn stale_size_and_name_of_an_old_sender_are_ignored() {
        let mut bytes = header(&[0], 1).as_bytes().to_vec();
        field::put(&mut bytes, NORMAL_PAGES, &[0; 4]);
        field::put(&mut bytes, RAMBLOCK, &[b'x'; NAME_FIELD_LEN]);
        let decoded = RamHeader::decode(&bytes, PageSize::X86).unwrap();
        assert_eq!((decoded.payload_len, decoded.block), (0, &[][..]));
    }
}
