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
/// [`RamRegion::for_each_touched`]: super::RamRegion::for_each_touched
#[derive(Debug)]
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
