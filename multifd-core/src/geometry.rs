// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sizes and numbers that both sides must agree on.

use std::fmt;
use std::num::NonZeroU8;

/// Bytes of guest pages that one packet carries at most, whatever the page size.
pub const PACKET_BYTES: usize = PACKET_LEN as usize;

/// Bytes of payload that one packet has at most with any method that compresses: what QEMU has room for.
pub const MAX_PAYLOAD: usize = 2 * PACKET_BYTES;

const PACKET_LEN: u32 = 512 * 1024;

/// Size in bytes of a *target* page: a power of two from 4 KiB (x86) to 64 KiB.
///
/// It fixes how many pages a packet can list, and with that the length of every packet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// The page size of x86, and of most arm64 guests.
    pub const X86: Self = Self(4096);

    /// All that there are.
    pub const ALL: [Self; 5] = [
        Self(0x1000),
        Self(0x2000),
        Self(0x4000),
        Self(0x8000),
        Self(0x10000),
    ];

    /// Takes a page size in bytes; `None` unless it is 4, 8, 16, 32 or 64 KiB.
    pub const fn new(bytes: u32) -> Option<Self> {
        match bytes {
            0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x10000 => Some(Self(bytes)),
            _ => None,
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }

    /// The size in bytes, for arithmetic on offsets inside a block.
    pub const fn bytes_u64(self) -> u64 {
        self.0 as u64
    }

    /// How many pages a packet lists at most: 128 for 4 KiB pages.
    pub const fn pages_per_packet(self) -> usize {
        self.page_limit() as usize
    }

    /// The same as [`Self::pages_per_packet`], as it stands in packets.
    pub(crate) const fn page_limit(self) -> u32 {
        PACKET_LEN / self.0
    }

    /// Whether `offset` is a multiple of the page size.
    pub const fn is_aligned(self, offset: u64) -> bool {
        offset & (self.bytes_u64() - 1) == 0
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self::X86
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How many multifd channels a migration uses: 1 to 255. Both sides must use the same number;
/// nothing on the wire says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelCount(u8);

impl ChannelCount {
    /// Takes a number of channels; `None` for 0.
    pub const fn new(count: u8) -> Option<Self> {
        if count == 0 { None } else { Some(Self(count)) }
    }

    /// The number.
    pub const fn count(self) -> usize {
        self.0 as usize
    }

    /// Every channel's number, from 0.
    pub fn ids(self) -> impl ExactSizeIterator<Item = ChannelId> {
        (0..self.0).map(ChannelId)
    }

    /// The channel that calls itself `id`; `None` unless `id` is below the count.
    pub const fn channel(self, id: u8) -> Option<ChannelId> {
        if id < self.0 {
            Some(ChannelId(id))
        } else {
            None
        }
    }
}

impl From<NonZeroU8> for ChannelCount {
    fn from(count: NonZeroU8) -> Self {
        Self(count.get())
    }
}

impl Default for ChannelCount {
    /// QEMU's default for `multifd-channels`, 2.
    fn default() -> Self {
        Self(2)
    }
}

impl fmt::Display for ChannelCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of one channel, below the migration's [`ChannelCount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(u8);

impl ChannelId {
    /// The number as it stands in the channel's initial packet.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The number, to index a table that has an entry for every channel.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_that_targets_have() {
        for (bytes, want) in [4096, 8192, 16384, 32768, 65536]
            .into_iter()
            .zip(PageSize::ALL)
        {
            let size = PageSize::new(bytes).unwrap();
            assert_eq!(size, want);
            assert_eq!(size.pages_per_packet() * size.bytes(), PACKET_BYTES);
        }
        for bytes in [0, 1, 2048, 4095, 4097, 12288, 131_072] {
            assert_eq!(PageSize::new(bytes), None, "{bytes}");
        }
    }

    #[test]
    fn channels_are_below_the_count() {
        assert_eq!(ChannelCount::new(0), None);
        let count = ChannelCount::new(255).unwrap();
        assert_eq!(count.ids().len(), 255);
        assert_eq!(count.channel(254).unwrap().index(), 254);
        assert_eq!(count.channel(255), None);
    }
}
