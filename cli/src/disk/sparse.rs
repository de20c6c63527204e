// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Files of guest memory: room for every page is set aside first, and what is zero gives it back.
//!
//! Memory is received into mappings. A page of a mapping for which the file system has no room left ends
//! the process, so the room has to be there before the first page comes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, ensure};
use multifd_core::RamBlock;
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::checksum::Checksum;

/// Refuses what will not fit. It may still not fit a moment later: see [`reserve`].
pub(crate) fn check_space(file: &File, len: u64) -> anyhow::Result<()> {
    let system = rustix::fs::fstatvfs(file)?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    ensure!(
        free >= len,
        "{len} bytes do not fit: {free} bytes are free there"
    );
    Ok(())
}

/// Makes a new file `len` bytes long, all zero, and sets the room for them aside. A file system that
/// cannot do that is asked whether it has the room.
pub(crate) fn reserve(file: &File, len: u64) -> anyhow::Result<()> {
    // Without this look a file system might fill itself up before it notices.
    check_space(file, len)?;
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(file.set_len(len)?),
        result => result.with_context(|| format!("cannot reserve {len} bytes")),
    }
}

/// To be called before a file that is mapped is filled: what is around the pages that are written to is left alone.
pub(crate) fn fill(block: &RamBlock) {
    set_read_ahead(block, false);
}

fn set_read_ahead(block: &RamBlock, may: bool) {
    let len = usize::try_from(block.len()).ok();
    if let Some(all) = len.and_then(|len| block.span(0, len)) {
        all.set_read_ahead(may);
    }
}

/// Whether a file is of memory, where lengths are whole huge pages or chosen ahead.
pub(crate) fn is_memory(file: &File) -> anyhow::Result<bool> {
    let system = rustix::fs::fstatfs(file)?;
    let is = |magic: u32| u32::try_from(system.f_type).is_ok_and(|kind| kind == magic);
    Ok(is(HUGETLBFS_MAGIC) || is(TMPFS_MAGIC))
}

/// What is left of a file when its zero pages have given their room back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Bytes that are not in holes.
    pub(crate) data_bytes: u64,
    /// The checksum of all of it, holes included.
    pub(crate) crc32: u32,
}

/// Gives back the room of every page that is zero; what is left of the file is a hole there. Each page is read
/// once.
///
/// `block` is a shared mapping of all of the file.
pub(crate) fn release_zeros(file: &File, block: &RamBlock) -> anyhow::Result<Kept> {
    let mut data_bytes = 0;
    let mut checksum = Checksum::default();
    let mut content = [0; PAGE];
    let mut end = 0;
    set_read_ahead(block, true);
    loop {
        let parts = next_parts(file, end, block.len())?;
        if parts.is_empty() {
            break;
        }
        for data in parts {
            punch(file, end..data.start)?;
            checksum.zeros(data.start - end);
            let mut zeros = data.start..data.start;
            for page in pages(&data) {
                let span = block.span(page.start, PAGE);
                span.context("a page behind the end")?.copy_to(&mut content);
                if content == ZEROS {
                    zeros.end = page.end;
                    continue;
                }
                data_bytes += page.end - page.start;
                checksum.zeros(zeros.end - zeros.start);
                checksum.update(&content);
                punch(file, zeros)?;
                zeros = page.end..page.end;
            }
            checksum.zeros(zeros.end - zeros.start);
            punch(file, zeros)?;
            end = data.end;
        }
    }
    punch(file, end..block.len())?;
    checksum.zeros(block.len() - end);
    Ok(Kept {
        data_bytes,
        crc32: checksum.value(),
    })
}

/// The checksum of the first `len` bytes of a file, of which holes are not read.
pub(crate) fn checksum(file: &File, len: u64) -> anyhow::Result<u32> {
    let mut checksum = Checksum::default();
    let mut content = vec![0; CHUNK];
    let mut end = 0;
    while let Some(data) = next_data(file, end, len)? {
        checksum.zeros(data.start - end);
        let mut at = data.start;
        while at < data.end {
            let rest = usize::try_from(data.end - at).unwrap_or(CHUNK);
            let part = content.get_mut(..rest.min(CHUNK)).unwrap_or_default();
            file.read_exact_at(part, at)?;
            checksum.update(part);
            at += part.len() as u64;
        }
        end = data.end;
    }
    checksum.zeros(len - end);
    Ok(checksum.value())
}

/// The next parts of a file that are not holes, until there are no more. They are looked for ahead: to read the one
/// brings pages behind it into memory, which then count as data although nobody has written to them.
fn next_parts(file: &File, from: u64, len: u64) -> anyhow::Result<Vec<Range<u64>>> {
    let mut parts = Vec::new();
    let mut end = from;
    while parts.len() < PARTS
        && let Some(data) = next_data(file, end, len)?
    {
        end = data.end;
        parts.push(data);
    }
    Ok(parts)
}

/// The next part of a file that is not a hole, in whole pages; `None` if only a hole is left. A file
/// system without holes has one such part.
fn next_data(file: &File, from: u64, len: u64) -> anyhow::Result<Option<Range<u64>>> {
    if from >= len {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..len)),
        Err(error) => return Err(error.into()),
    };
    let end = seek(file, SeekFrom::Hole(start))?;
    let page = PAGE as u64;
    let (start, end) = (start / page * page, end.div_ceil(page) * page);
    Ok(Some(start.max(from)..end.clamp(from, len)))
}

/// Whole pages of a range of whole pages.
fn pages(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let end = range.end;
    let starts = range.clone().step_by(PAGE);
    starts.map(move |start| start..end.min(start + PAGE as u64))
}

fn punch(file: &File, range: Range<u64>) -> anyhow::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.start, range.end - range.start) {
        // A file system without holes keeps zeros instead.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error).context("cannot give back what is zero"),
    }
}

/// Linux's `HUGETLBFS_MAGIC`.
const HUGETLBFS_MAGIC: u32 = 0x9584_58f6;
/// Linux's `TMPFS_MAGIC`, which memfds have as well.
const TMPFS_MAGIC: u32 = 0x0102_1994;
/// Pages of the file system, as far as holes go.
const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];
/// Parts that are looked for ahead.
const PARTS: usize = 1 << 16;
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Arc;

    use multifd_core::memory::Mapping;
    use multifd_core::wire::BlockName;

    use super::*;

    const PAGES: usize = 300;

    fn block(file: &File, len: usize) -> RamBlock {
        let mapping = Mapping::shared(file.as_fd(), len).unwrap();
        RamBlock::new(BlockName::new("ram").unwrap(), Arc::new(mapping)).unwrap()
    }

    #[test]
    fn zeros_take_no_room_and_the_content_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ram");
        let options = || {
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
        };
        let file = options().unwrap();
        let len = PAGES * PAGE;
        reserve(&file, len as u64).unwrap();
        let reserved = file.metadata().unwrap();
        assert_eq!(reserved.len(), len as u64);
        assert!(reserved.blocks() * 512 >= len as u64);

        let block = block(&file, len);
        let mut want = vec![0; len];
        for page in (0..PAGES).filter(|page| page % 7 == 3 || (100..150).contains(page)) {
            want[page * PAGE + page] = 1;
        }
        // Written, but zero.
        for page in (0..PAGES).filter(|page| page % 5 == 0) {
            block
                .span((page * PAGE) as u64, PAGE)
                .unwrap()
                .copy_from(&[0; PAGE]);
        }
        for (page, bytes) in want.chunks(PAGE).enumerate() {
            if bytes.iter().any(|byte| *byte != 0) {
                block
                    .span((page * PAGE) as u64, PAGE)
                    .unwrap()
                    .copy_from(bytes);
            }
        }
        let pages = want
            .chunks(PAGE)
            .filter(|page| page.iter().any(|byte| *byte != 0));
        let data = (pages.count() * PAGE) as u64;
        let kept = release_zeros(&file, &block).unwrap();
        assert_eq!(kept.data_bytes, data);
        assert_eq!(kept.crc32, Checksum::of(&want));
        assert_eq!(checksum(&file, len as u64).unwrap(), kept.crc32);
        file.sync_all().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), want);
        let kept = file.metadata().unwrap().blocks() * 512;
        assert!(kept < reserved.blocks() * 512, "{kept} bytes on disk");
    }

    #[test]
    fn every_byte_counts_and_holes_are_zeros() {
        let file = tempfile::tempfile().unwrap();
        // Whole pages or not, more than is read at once, with holes before, between and behind.
        let mut want = vec![0; 5 << 20];
        want[(1 << 20) + 7..(3 << 20)].fill(1);
        want[(4 << 20) - 1] = 2;
        file.set_len(want.len() as u64).unwrap();
        for part in [(1 << 20) + 7..3 << 20, (4 << 20) - 1..4 << 20] {
            file.write_all_at(&want[part.clone()], part.start as u64)
                .unwrap();
        }
        let len = want.len() as u64;
        assert_eq!(checksum(&file, len).unwrap(), Checksum::of(&want));
        for (at, byte) in [(0, 1), (2 << 20, 3), (len - 1, 1)] {
            let old = want[usize::try_from(at).unwrap()];
            file.write_all_at(&[byte], at).unwrap();
            assert_ne!(checksum(&file, len).unwrap(), Checksum::of(&want), "{at}");
            file.write_all_at(&[old], at).unwrap();
        }
        assert_eq!(checksum(&file, len).unwrap(), Checksum::of(&want));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::create(folder.path().join("ram")).unwrap();
        let error = reserve(&file, 1 << 60).unwrap_err().to_string();
        assert!(error.contains("do not fit"), "{error}");
        assert_eq!(file.metadata().unwrap().blocks(), 0);
    }
}
