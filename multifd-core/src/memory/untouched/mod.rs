// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory that nobody has ever touched.

mod file_holes;
mod page_map;

use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use file_holes::FileHoles;
use page_map::{Entry, PageMap};

/// What the system knows of memory that nobody has touched: it is zero, and need not be read to see that. To read
/// it is not free: a hole of a memfd that is read is filled with a page that stays.
///
/// It is for a [`RamRegion::for_each_touched`] to answer from. Each question is a few system calls on the thread that
/// asks: `lseek(2)` for a file, `pread(2)` of `/proc/self/pagemap` for private memory. Whatever the system refuses to say,
/// or says against the rules, counts as touched.
///
/// Not for memory whose missing pages come from elsewhere when they are touched, as with `userfaultfd(2)`: they are
/// not zero.
///
/// By default it knows nothing: then all counts as touched.
///
/// [`RamRegion::for_each_touched`]: super::RamRegion::for_each_touched
#[derive(Debug, Default)]
pub struct Untouched {
    file: Option<FileHoles>,
    pages: Option<PageMap>,
}

impl Untouched {
    /// For a shared mapping of a file from byte `offset` on: the holes of the file (`SEEK_DATA`, `SEEK_HOLE`), whoever
    /// writes to it, through whatever mapping. The descriptor is duplicated; the position of the open file, which all
    /// duplicates share, changes with each question.
    ///
    /// # Errors
    /// A file system other than tmpfs, where memfds are, ext4 and XFS: others may name holes too
    /// many, or have none to tell of, as hugetlbfs. Or the descriptor cannot be duplicated.
    pub fn of_file(file: BorrowedFd<'_>, offset: u64) -> io::Result<Self> {
        Ok(Self {
            file: Some(FileHoles::new(file, offset)?),
            pages: None,
        })
    }

    /// For `len` bytes of private anonymous memory: what the page tables of this process have no page for, in memory
    /// or swapped out. Opens `/proc/self/maps` and `/proc/self/pagemap`.
    ///
    /// # Errors
    /// These cannot be read; or it is shared memory, a file's, or in huge pages of hugetlbfs.
    pub fn of_anonymous(base: NonNull<u8>, len: usize) -> io::Result<Self> {
        Ok(Self {
            file: None,
            pages: Some(PageMap::of_anonymous(base.as_ptr().addr(), len)?),
        })
    }

    /// For `len` bytes of a private mapping of a file from byte `offset` on, as of a saved guest that runs again: the
    /// holes of the file, without those pages of which this process has a copy of its own.
    ///
    /// # Errors
    /// As the two others, or it is no private mapping.
    pub fn of_private_file(
        file: BorrowedFd<'_>,
        offset: u64,
        (base, len): (NonNull<u8>, usize),
    ) -> io::Result<Self> {
        Ok(Self {
            file: Some(FileHoles::new(file, offset)?),
            pages: Some(PageMap::of_private(base.as_ptr().addr(), len)?),
        })
    }

    /// Names the parts of a range of bytes that may have been touched, in order.
    pub fn for_each_touched(&self, range: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
        match (&self.file, &self.pages) {
            (Some(file), None) => file.for_each_data(range, act),
            (None, Some(pages)) => pages.for_each(range, Entry::is_there, act),
            (None, None) => act(range),
            (Some(file), Some(pages)) => {
                let mut at = range.start;
                file.for_each_data(range.clone(), &mut |data| {
                    pages.for_each(at..data.start, Entry::is_own, act);
                    at = data.end;
                    act(data);
                });
                pages.for_each(at..range.end, Entry::is_own, act);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    use super::super::{Mapping, RamRegion, memfd};
    use super::*;

    fn touched(mapping: &Mapping) -> Vec<Range<u64>> {
        let mut touched = Vec::new();
        mapping.for_each_touched(0..mapping.len() as u64, &mut |part| touched.push(part));
        touched
    }

    #[test]
    fn a_private_mapping_has_the_files_data_and_its_own() {
        const PAGE: u64 = 0x1000;
        let file = File::from(memfd(c"ram", 0x20 * 0x1000).unwrap());
        for page in [3, 4, 9] {
            file.write_all_at(&[1; 0x1000], page * PAGE).unwrap();
        }
        let mut mapping = Mapping::private(file.as_fd(), 0x20 * 0x1000).unwrap();
        let all = 0..0x20 * PAGE;
        assert_eq!(touched(&mapping), std::slice::from_ref(&all));
        mapping.learn_untouched(Some(file.as_fd())).unwrap();
        assert_eq!(touched(&mapping), [3 * PAGE..5 * PAGE, 9 * PAGE..10 * PAGE]);
        // In holes before, between and behind, and in what was data.
        for page in [0, 3, 6, 0x1f] {
            // SAFETY: the byte is mapped, and nobody else uses it.
            unsafe { mapping.base().add(page * 0x1000).write(1) };
        }
        let touched = touched(&mapping);
        for page in 0..0x20 {
            let is_touched = touched.iter().any(|part| part.contains(&(page * PAGE)));
            let want = [0, 3, 4, 6, 9, 0x1f].contains(&page);
            assert_eq!(is_touched, want, "{page}");
        }
    }

    #[test]
    fn only_what_is_mapped_can_be_asked() {
        let file = File::from(memfd(c"ram", 0x1000).unwrap());
        let mut anonymous = Mapping::anonymous(0x1000).unwrap();
        let mut shared = Mapping::shared(file.as_fd(), 0x1000).unwrap();
        assert!(anonymous.learn_untouched(Some(file.as_fd())).is_err());
        assert!(shared.learn_untouched(None).is_err());
        // The file system of /proc tells of no holes.
        let proc = File::open("/proc/self/maps").unwrap();
        assert!(shared.learn_untouched(Some(proc.as_fd())).is_err());
        assert_eq!(touched(&shared), std::slice::from_ref(&(0..0x1000)));
        shared.learn_untouched(Some(file.as_fd())).unwrap();
        anonymous.learn_untouched(None).unwrap();
        assert_eq!((touched(&shared), touched(&anonymous)), (vec![], vec![]));
    }
}
