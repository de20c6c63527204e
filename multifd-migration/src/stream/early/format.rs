// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How the sections are laid out that QEMU sends before the end of RAM.
//!
//! | id string ends in | sections | data |
//! |---|---|---|
//! | `virtio-mem-device-early` | FULL | addresses and sizes, a bitmap of blocks |
//! | `dirty-bitmap` | START, PART, END | chunks of flags, names and bits |
//! | `vfio` | START, PART, END | tags of 8 bytes, some with a length and so many bytes |
//! | `s390-storage_attributes` | START, PART, END | words of address and flags, some with a count and so many bytes |
//! | `spapr/htab` | START, PART, END | the size, or runs of entries of 16 bytes |

use super::super::{Reader, StreamError};
use super::head::{SectionHead, SectionKind};

/// A layout that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    VirtioMem,
    DirtyBitmap,
    Vfio,
    StorageAttributes,
    /// The size of the hash table.
    HashTableSize,
    /// The head of a section with entries of the hash table.
    HashTableHead,
    HashTable,
}

/// What is behind a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes, then another record.
    Bytes(u64),
    /// So many bytes, and nothing else.
    Last(u64),
    /// The footer or another record.
    Any,
    /// Nothing that is known: the layout is another one.
    Unknown,
}

/// Reads numbers and keeps their bytes.
pub(super) struct Recorder<'r> {
    pub(super) reader: &'r mut Reader,
    pub(super) bytes: Vec<u8>,
}

impl Format {
    /// The layout of a section, if it is known.
    pub(super) fn of(head: &SectionHead) -> Option<Self> {
        let is_full = head.kind == SectionKind::Full;
        let name = head.idstr.as_str();
        match name.rsplit_once('/').map_or(name, |(_, last)| last) {
            "virtio-mem-device-early" if is_full && head.version == 1 => Some(Self::VirtioMem),
            _ if is_full => None,
            "dirty-bitmap" => Some(Self::DirtyBitmap),
            "vfio" => Some(Self::Vfio),
            "s390-storage_attributes" => Some(Self::StorageAttributes),
            "htab" if head.kind == SectionKind::Start => Some(Self::HashTableSize),
            "htab" => Some(Self::HashTableHead),
            _ => None,
        }
    }

    /// Reads the next record, up to the opaque bytes in it.
    pub(super) fn record(&mut self, data: &mut Recorder<'_>) -> Result<Next, StreamError> {
        let next = self.read(data)?;
        Ok(match next {
            Next::Bytes(count) | Next::Last(count) if count > MAX_RECORD => Next::Unknown,
            next => next,
        })
    }

    fn read(&mut self, data: &mut Recorder<'_>) -> Result<Next, StreamError> {
        match self {
            Self::VirtioMem => virtio_mem(data),
            Self::DirtyBitmap => dirty_bitmap(data),
            Self::Vfio => vfio(data),
            Self::StorageAttributes => storage_attributes(data),
            Self::HashTableSize => data.u32().map(|_| Next::Last(0)),
            Self::HashTableHead => {
                *self = Self::HashTable;
                data.u32().map(|head| match head {
                    0 => Next::Bytes(0),
                    NO_HASH_TABLE => Next::Last(0),
                    _ => Next::Unknown,
                })
            }
            Self::HashTable => hash_table(data),
        }
    }
}

/// Address, bytes of the region and of a block, the NUMA node, bytes that are plugged, and a bit for each
/// block.
fn virtio_mem(data: &mut Recorder<'_>) -> Result<Next, StreamError> {
    data.u64()?;
    let (region, block) = (data.u64()?, data.u64()?);
    data.u32()?;
    data.u64()?;
    Ok(match region.checked_div(block) {
        Some(blocks) => Next::Last(blocks.div_ceil(64).saturating_mul(8)),
        None => Next::Unknown,
    })
}

/// A chunk: flags, the names that they say, and what they say.
fn dirty_bitmap(data: &mut Recorder<'_>) -> Result<Next, StreamError> {
    const LAST: u32 = 0x01;
    const ZEROES: u32 = 0x02;
    const BITMAP: u32 = 0x04;
    const NODE: u32 = 0x08;
    const START: u32 = 0x10;
    const COMPLETE: u32 = 0x20;
    const BITS: u32 = 0x40;
    const MORE: u32 = 0x80;
    let mut flags = u32::from(data.u8()?);
    if flags & MORE != 0 {
        flags = flags << 8 | u32::from(data.u8()?);
        if flags & MORE != 0 {
            flags = flags << 16 | u32::from(data.u16()?);
        }
    }
    for name in [NODE, BITMAP] {
        if flags & name != 0 {
            let len = data.u8()?;
            data.bytes(len.into())?;
        }
    }
    let known = LAST | ZEROES | BITMAP | NODE | START | COMPLETE | BITS | MORE;
    // Of larger flags the upper bytes say that there are lower ones.
    if flags <= 0xff && flags & !known != 0 {
        return Ok(Next::Unknown);
    }
    if flags & START != 0 {
        data.u32()?;
        data.u8()?;
    } else if flags & BITS != 0 {
        data.u64()?;
        data.u32()?;
        if flags & ZEROES == 0 {
            return data.u64().map(Next::Bytes);
        }
    } else if flags & (LAST | COMPLETE) == 0 {
        return Ok(Next::Unknown);
    }
    Ok(match flags & LAST {
        0 => Next::Bytes(0),
        _ => Next::Last(0),
    })
}

fn vfio(data: &mut Recorder<'_>) -> Result<Next, StreamError> {
    const END: u64 = 0xffff_ffff_ef10_0001;
    const SETUP: u64 = 0xffff_ffff_ef10_0003;
    const DATA: u64 = 0xffff_ffff_ef10_0004;
    /// Instead of [`END`]: the data that comes before the switchover has been sent.
    const INITIAL_DATA_SENT: u64 = 0xffff_ffff_ef10_0005;
    const LOAD_READY: u64 = 0xffff_ffff_ef10_0006;
    Ok(match data.u64()? {
        END | INITIAL_DATA_SENT => Next::Last(0),
        SETUP | LOAD_READY => Next::Bytes(0),
        DATA => Next::Bytes(data.u64()?),
        _ => Next::Unknown,
    })
}

fn storage_attributes(data: &mut Recorder<'_>) -> Result<Next, StreamError> {
    const LAST: u64 = 1;
    const MORE: u64 = 2;
    const ERROR: u64 = 4;
    const DONE: u64 = 8;
    Ok(match data.u64()? & 0xfff {
        LAST => Next::Last(0),
        MORE => Next::Bytes(data.u64()?),
        ERROR | DONE => Next::Any,
        _ => Next::Unknown,
    })
}

/// Index, number of valid entries, number of invalid ones; the valid ones follow.
fn hash_table(data: &mut Recorder<'_>) -> Result<Next, StreamError> {
    let (index, valid, invalid) = (data.u32()?, data.u16()?, data.u16()?);
    Ok(match (index, valid, invalid) {
        (0, 0, 0) => Next::Last(0),
        _ => Next::Bytes(u64::from(valid) * HASH_TABLE_ENTRY),
    })
}

impl Recorder<'_> {
    fn u8(&mut self) -> Result<u8, StreamError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, StreamError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, StreamError> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, StreamError> {
        self.array().map(u64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StreamError> {
        let bytes = self.reader.array(WHAT)?;
        self.bytes.extend_from_slice(&bytes);
        Ok(bytes)
    }

    fn bytes(&mut self, len: usize) -> Result<(), StreamError> {
        let bytes = self.reader.bytes(len, WHAT)?;
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }
}

const WHAT: &str = "a device's state";
/// More bytes than any record has: a buffer of a VFIO device has a MiB, a bitmap of blocks some KiB.
const MAX_RECORD: u64 = 1 << 30;
const HASH_TABLE_ENTRY: u64 = 16;
const NO_HASH_TABLE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    /// As they stand in streams of real QEMUs, and VFIO's.
    #[test]
    fn the_names_that_qemu_gives_its_sections() {
        use SectionKind::{Full, Start};
        let known = [
            (Full, "0000:00:01.0/virtio-mem-device-early"),
            (Start, "dirty-bitmap"),
            (Start, "0000:00:02.0/vfio"),
            (Start, "s390-storage_attributes"),
            (Start, "spapr/htab"),
        ];
        for (kind, idstr) in known {
            let head = SectionHead {
                kind,
                id: 1,
                idstr: idstr.to_owned(),
                instance: 0,
                version: 1,
            };
            assert!(Format::of(&head).is_some(), "{idstr}");
        }
    }
}
