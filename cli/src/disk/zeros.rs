// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Parts of files that are made zero, without room for them where that can be.

use std::fs::File;
use std::ops::Range;

use anyhow::Context as _;
use multifd_core::RamBlock;
use multifd_core::memory::Access;
use rustix::fs::{FallocateFlags, fallocate, fstatfs};
use rustix::io::Errno;

/// Makes a part of a file zero, in whole pages. `block` is a shared mapping of the file.
pub(crate) fn clear(file: &File, block: &RamBlock, range: Range<u64>) -> anyhow::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.start, range.end - range.start) {
        // Of a huge page of which only a part is meant, older kernels leave that as it is.
        Ok(()) => {
            let page = u64::try_from(fstatfs(file)?.f_bsize)?;
            edges(&range, page).try_for_each(|edge| overwrite(block, edge))
        }
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => overwrite(block, range),
        Err(error) => Err(error).context("cannot clear what did not arrive"),
    }
}

/// The parts of a range that have a page of the file system in common with what is around it.
fn edges(range: &Range<u64>, page: u64) -> impl Iterator<Item = Range<u64>> + use<> {
    let start = range.start.next_multiple_of(page).min(range.end);
    let end = (range.end / page * page).max(start);
    let edges = [range.start..start, end..range.end];
    edges.into_iter().filter(|edge| !edge.is_empty())
}

/// Writes zeros where there is anything else.
fn overwrite(block: &RamBlock, range: Range<u64>) -> anyhow::Result<()> {
    for start in range.clone().step_by(CHUNK) {
        let len = usize::try_from(range.end - start).map_or(CHUNK, |left| left.min(CHUNK));
        let span = block.span(start, len);
        let span = span.context("a page behind the end")?;
        span.populate(Access::Read)?;
        if !span.is_zero() {
            span.populate(Access::Write)?;
            span.clear();
        }
    }
    Ok(())
}

/// Bytes that are looked at at once.
const CHUNK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    use multifd_core::memory::Mapping;
    use multifd_core::wire::BlockName;

    use super::*;

    const LEN: usize = 3 * CHUNK;

    fn file() -> (File, RamBlock) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; LEN], 0).unwrap();
        let mapping = Arc::new(Mapping::shared(file.as_fd(), LEN).unwrap());
        let name = BlockName::new("ram").unwrap();
        (file, RamBlock::new(name, mapping).unwrap())
    }

    #[test]
    fn a_part_is_made_zero_and_no_more() {
        type Clear = fn(&File, &RamBlock, Range<u64>) -> anyhow::Result<()>;
        let ways: [Clear; 2] = [clear, |_, block, range| overwrite(block, range)];
        for way in ways {
            for range in [0..4096, 4096..LEN - 8192, 0..LEN] {
                let (file, block) = file();
                way(&file, &block, range.start as u64..range.end as u64).unwrap();
                let mut want = vec![7; LEN];
                want[range.clone()].fill(0);
                let mut got = vec![0; LEN];
                file.read_exact_at(&mut got, 0).unwrap();
                assert!(got == want, "{range:?}");
            }
        }
    }

    #[test]
    fn only_parts_of_huge_pages_are_looked_at_again() {
        let huge = 2 << 20;
        let edges_of = |range| edges(&range, huge).collect::<Vec<_>>();
        assert_eq!(edges_of(0..huge), []);
        assert_eq!(
            edges_of(4096..3 * huge + 4096),
            [4096..huge, 3 * huge..3 * huge + 4096]
        );
        for part in [0..8192, 4096..8192, huge - 4096..huge] {
            assert_eq!(edges(&part, huge).next(), Some(part.clone()));
            assert_eq!(edges(&part, 4096).next(), None);
        }
    }
}
