// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The header of a RAM packet.

use super::block_name::{BlockName, NAME_FIELD_LEN};
use super::error::WireError;
use super::field;
use super::flags::{COMMON_HEADER_LEN, PacketFlags};
use crate::geometry::PageSize;

const PAGES_ALLOC: usize = 12;
const NORMAL_PAGES: usize = 16;
const NEXT_PACKET_SIZE: usize = 20;
const PACKET_NUM: usize = 24;
const ZERO_PAGES: usize = 32;
const RAMBLOCK: usize = 64;
const OFFSETS: usize = RAMBLOCK + NAME_FIELD_LEN;

/// Length of the longest header: the smallest pages are the most.
const MOST_BYTES: usize = ram_header_len(PageSize::X86);

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
    normal: &'a [[u8; 8]],
    zero: &'a [[u8; 8]],
}

/// The pages of a packet, as byte offsets in their block.
///
/// Which pages are zero is said by the list that they are in, never by a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageOffsets<'a> {
    /// Pages with payload, in its order.
    pub normal: &'a [u64],
    /// Pages that are zero, and have none.
    pub zero: &'a [u64],
}

impl PageOffsets<'_> {
    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.normal.len() + self.zero.len()
    }
}

/// More pages than a packet can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {got} pages, wanted at most {limit}")]
pub struct TooManyPages {
    got: usize,
    limit: u32,
}

impl<'a> RamHeader<'a> {
    /// Reads a header of [`ram_header_len`] bytes.
    ///
    /// # Errors
    /// Fewer bytes than that; a magic or version that is not multifd's; more pages than a packet can list.
    pub fn decode(header: &'a [u8], page_size: PageSize) -> Result<Self, WireError> {
        let short = || WireError::HeaderLength {
            got: header.len(),
            want: ram_header_len(page_size),
        };
        let (fixed, offsets) = header.split_first_chunk::<OFFSETS>().ok_or_else(short)?;
        let flags = PacketFlags::read(&field::bytes::<0, COMMON_HEADER_LEN, _>(fixed))?;
        let limit = page_size.page_limit();
        let alloc = capped("pages_alloc", field::u32_at::<PAGES_ALLOC, _>(fixed), limit)?;
        let normal = field::u32_at::<NORMAL_PAGES, _>(fixed);
        let normal = capped("normal_pages", normal, alloc)?;
        let zero = field::u32_at::<ZERO_PAGES, _>(fixed);
        let zero = capped("zero_pages", zero, alloc - normal)? as usize;

        let (offsets, _) = offsets.as_chunks::<8>();
        let (normal, rest) = offsets
            .split_at_checked(normal as usize)
            .ok_or_else(short)?;
        let zero = rest.get(..zero).ok_or_else(short)?;
        let payload_len = field::u32_at::<NEXT_PACKET_SIZE, _>(fixed) as usize;
        // The last byte is never part of the name.
        let block = field::name(field::part::<RAMBLOCK, { NAME_FIELD_LEN - 1 }, _>(fixed));
        let is_empty = normal.is_empty() && zero.is_empty();
        Ok(Self {
            flags,
            packet_num: field::u64_at::<PACKET_NUM, _>(fixed),
            payload_len: if normal.is_empty() { 0 } else { payload_len },
            block: if is_empty { &[] } else { block },
            normal,
            zero,
        })
    }

    /// How many pages have payload.
    pub fn normal_pages(&self) -> usize {
        self.normal.len()
    }

    /// How many pages are zero.
    pub fn zero_pages(&self) -> usize {
        self.zero.len()
    }

    /// Whether the packet lists no page at all: a pure barrier, or the empty packet of an old
    /// sender.
    pub fn is_empty(&self) -> bool {
        self.normal.is_empty() && self.zero.is_empty()
    }

    /// Offsets in bytes of the normal pages, then of the zero pages, in the order of the packet.
    pub fn offsets(&self) -> impl Iterator<Item = u64> + 'a {
        self.normal_offsets().chain(self.zero_offsets())
    }

    /// Offsets in bytes of the pages with payload, in its order.
    pub fn normal_offsets(&self) -> impl Iterator<Item = u64> + 'a {
        self.normal.iter().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Offsets in bytes of the zero pages, in the order of the packet.
    pub fn zero_offsets(&self) -> impl Iterator<Item = u64> + 'a {
        self.zero.iter().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

/// The bytes of a header that a channel sends again and again.
#[derive(Debug)]
pub struct RamHeaderBuffer {
    page_size: PageSize,
    bytes: Box<[u8; MOST_BYTES]>,
    /// How many offsets the last header had: only those have to be cleared.
    used: usize,
}

impl RamHeaderBuffer {
    /// Makes room for a header.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            bytes: Box::new([0; MOST_BYTES]),
            used: 0,
        }
    }

    /// Writes the header of a packet with pages.
    ///
    /// # Errors
    /// There are more than the packet can list.
    pub fn set_pages(
        &mut self,
        flags: PacketFlags,
        packet_num: u64,
        block: &BlockName,
        pages: PageOffsets<'_>,
        payload_len: u32,
    ) -> Result<(), TooManyPages> {
        let (limit, got) = (self.page_size.page_limit(), pages.count());
        let too_many = || TooManyPages { got, limit };
        if got > self.page_size.pages_per_packet() {
            return Err(too_many());
        }
        let count = |pages: &[u64]| u32::try_from(pages.len()).map_err(|_| too_many());
        let (normal, zero) = (count(pages.normal)?, count(pages.zero)?);
        self.set_fixed(flags, packet_num);
        let header = &mut *self.bytes;
        field::put::<PAGES_ALLOC, 4, _>(header, limit.to_be_bytes());
        field::put::<NORMAL_PAGES, 4, _>(header, normal.to_be_bytes());
        field::put::<NEXT_PACKET_SIZE, 4, _>(header, payload_len.to_be_bytes());
        field::put::<ZERO_PAGES, 4, _>(header, zero.to_be_bytes());
        field::put_block_name::<RAMBLOCK, _>(header, block);
        let (places, _) = header.split_at_mut(OFFSETS).1.as_chunks_mut::<8>();
        for (place, offset) in places.iter_mut().zip(pages.normal.iter().chain(pages.zero)) {
            *place = offset.to_be_bytes();
        }
        self.used = got;
        Ok(())
    }

    /// Writes the header of a SYNC packet.
    pub fn set_sync(&mut self, packet_num: u64) {
        self.set_fixed(PacketFlags::SYNC, packet_num);
        self.used = 0;
    }

    /// The header as it goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.split_at(ram_header_len(self.page_size)).0
    }

    fn set_fixed(&mut self, flags: PacketFlags, packet_num: u64) {
        let (dirty, _) = self.bytes.split_at_mut(OFFSETS + 8 * self.used);
        dirty.fill(0);
        field::put_common(&mut self.bytes, flags);
        field::put::<PACKET_NUM, 8, _>(&mut self.bytes, packet_num.to_be_bytes());
    }
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

    fn header(normal: &[u64], zero: &[u64]) -> RamHeaderBuffer {
        let mut buffer = RamHeaderBuffer::new(PageSize::X86);
        let block = BlockName::new("pc.ram").unwrap();
        let flags = PacketFlags::pages(MethodId::ZSTD);
        let pages = PageOffsets { normal, zero };
        buffer.set_pages(flags, 7, &block, pages, 99).unwrap();
        buffer
    }

    #[test]
    fn round_trip() {
        let buffer = header(&[0x3000, 0x1000], &[0x2000]);
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
        let mut buffer = header(&[0x3000; 128], &[]);
        buffer.set_sync(8);
        let mut want = RamHeaderBuffer::new(PageSize::X86);
        want.set_sync(8);
        assert_eq!(buffer.as_bytes(), want.as_bytes());
        let decoded = RamHeader::decode(buffer.as_bytes(), PageSize::X86).unwrap();
        assert!(decoded.is_empty() && decoded.flags.is_sync());
    }

    #[test]
    fn more_pages_than_fit_are_no_packet() {
        let page_size = PageSize::new(0x10000).unwrap();
        let mut buffer = RamHeaderBuffer::new(page_size);
        let block = BlockName::new("ram").unwrap();
        let mut set = |normal: &[u64], zero: &[u64]| {
            let pages = PageOffsets { normal, zero };
            buffer.set_pages(PacketFlags::default(), 1, &block, pages, 0)
        };
        assert_eq!(set(&[0; 5], &[0; 3]), Ok(()));
        let too_many = TooManyPages { got: 9, limit: 8 };
        assert_eq!(set(&[0; 9], &[]), Err(too_many));
        assert_eq!(set(&[0; 1], &[0; 8]), Err(too_many));
        assert_eq!(buffer.as_bytes().len(), 320 + 8 * 8);
    }

    #[test]
    fn a_part_of_a_header_is_none() {
        let buffer = header(&[0; 128], &[]);
        for got in [0, 11, OFFSETS - 1, OFFSETS, 1343] {
            assert_eq!(
                RamHeader::decode(&buffer.as_bytes()[..got], PageSize::X86),
                Err(WireError::HeaderLength { got, want: 1344 })
            );
        }
    }

    #[test]
    fn counts_that_lie() {
        for (field_offset, value, what) in [
            (PAGES_ALLOC, 129, "pages_alloc"),
            (NORMAL_PAGES, 129, "normal_pages"),
            (ZERO_PAGES, 127, "zero_pages"),
            (ZERO_PAGES, u32::MAX, "zero_pages"),
        ] {
            let mut bytes = header(&[0, 0x1000], &[]).as_bytes().to_vec();
            bytes[field_offset..field_offset + 4].copy_from_slice(&value.to_be_bytes());
            match RamHeader::decode(&bytes, PageSize::X86) {
                Err(WireError::Count { what: got, .. }) => assert_eq!(got, what),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn stale_size_and_name_of_an_old_sender_are_ignored() {
        let mut bytes = header(&[0], &[]).as_bytes().to_vec();
        bytes[NORMAL_PAGES..NORMAL_PAGES + 4].fill(0);
        bytes[RAMBLOCK..OFFSETS].fill(b'x');
        let decoded = RamHeader::decode(&bytes, PageSize::X86).unwrap();
        assert_eq!((decoded.payload_len, decoded.block), (0, &[][..]));
    }
}
