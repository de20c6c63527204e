// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Holes of files.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// A file that is mapped from some byte on, and tells its holes.
#[derive(Debug)]
pub(super) struct FileHoles {
    file: OwnedFd,
    /// Where the mapping begins in the file.
    offset: u64,
}

impl FileHoles {
    pub(super) fn new(file: BorrowedFd<'_>, offset: u64) -> io::Result<Self> {
        if !is_known(file)? {
            let what = "a file system that is not known to tell the holes of a file";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let file = file.try_clone_to_owned()?;
        Ok(Self { file, offset })
    }

    /// Names the parts of a range that are not in holes, in order.
    pub(super) fn for_each_data(&self, range: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
        for_each_data(range, |from, whence| self.seek(from, whence), act);
    }

    /// Looks from a byte of the mapping on, and returns a byte of the mapping. The error is the system's number.
    fn seek(&self, from: u64, whence: libc::c_int) -> Result<u64, libc::c_int> {
        let from = match whence {
            libc::SEEK_END => Some(from),
            _ => self.offset.checked_add(from),
        };
        let from = from.and_then(|from| libc::off_t::try_from(from).ok());
        let from = from.ok_or(libc::EOVERFLOW)?;
        // SAFETY: the descriptor is open, and no memory is named.
        let found = unsafe { libc::lseek(self.file.as_raw_fd(), from, whence) };
        if found < 0 {
            let error = io::Error::last_os_error().raw_os_error();
            return Err(error.unwrap_or(libc::EIO));
        }
        let found = u64::try_from(found).ok();
        let found = found.and_then(|found| found.checked_sub(self.offset));
        found.ok_or(libc::EIO)
    }
}

fn for_each_data(
    range: Range<u64>,
    seek: impl Fn(u64, libc::c_int) -> Result<u64, libc::c_int>,
    act: &mut dyn FnMut(Range<u64>),
) {
    let mut at = range.start;
    while at < range.end {
        let data = next_data(at..range.end, &seek);
        at = data.end;
        if !data.is_empty() {
            act(data);
        }
    }
}

/// The first part of a range that is not in a hole; an empty one at its end if all of it is. What the file system
/// does not say is data.
fn next_data(
    range: Range<u64>,
    seek: &impl Fn(u64, libc::c_int) -> Result<u64, libc::c_int>,
) -> Range<u64> {
    let nothing = range.end..range.end;
    let start = match seek(range.start, libc::SEEK_DATA) {
        Ok(start) if start >= range.end => return nothing,
        Ok(start) if start >= range.start => start,
        // Nothing but a hole until the end of the file, which has to be behind the range: what the file has lost is
        // for whoever reads it to find out.
        Err(libc::ENXIO) if seek(0, libc::SEEK_END).is_ok_and(|len| len >= range.end) => {
            return nothing;
        }
        _ => return range,
    };
    match seek(start, libc::SEEK_HOLE) {
        Ok(end) if end > start => start..end.min(range.end),
        _ => start..range.end,
    }
}

/// Whether a file is in a file system whose holes are holes, also while the file is written to through mappings.
fn is_known(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut system = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open for as long as it is borrowed, and there is room for the answer.
    if unsafe { libc::fstatfs(file.as_raw_fd(), system.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled it.
    let system = unsafe { system.assume_init() };
    Ok(u32::try_from(system.f_type).is_ok_and(|kind| KNOWN.contains(&kind)))
}

/// Linux's `TMPFS_MAGIC`, which memfds have as well, `EXT4_SUPER_MAGIC` and `XFS_SUPER_MAGIC`.
const KNOWN: [u32; 3] = [0x0102_1994, 0xef53, 0x5846_5342];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::FileExt as _;

    use super::super::super::memfd;
    use super::*;

    fn data(file: &FileHoles, range: Range<u64>) -> Vec<Range<u64>> {
        let mut all = Vec::new();
        file.for_each_data(range, &mut |part| all.push(part));
        all
    }

    #[test]
    fn what_is_written_is_data_and_the_rest_is_not() {
        let file = File::from(memfd(c"ram", 0x20000).unwrap());
        let holes = FileHoles::new(file.as_fd(), 0x1000).unwrap();
        let none: [Range<u64>; 0] = [];
        let only = |part: Range<u64>| [part];
        assert_eq!(data(&holes, 0..0x1f000), none);
        for at in [0, 0x4000, 0x5000, 0x1f000] {
            file.write_all_at(&[1], at).unwrap();
        }
        assert_eq!(data(&holes, 0..0x1f000), [0x3000..0x5000, 0x1e000..0x1f000]);
        assert_eq!(data(&holes, 0x4000..0x5000), only(0x4000..0x5000));
        assert_eq!(data(&holes, 0x5000..0x1e000), none);
        // What is behind the end of the file is not a hole.
        assert_eq!(
            data(&holes, 0x1e000..0x21000),
            [0x1e000..0x1f000, 0x1f000..0x21000]
        );
        file.set_len(0x1000).unwrap();
        assert_eq!(data(&holes, 0..0x1000), only(0..0x1000));
    }

    #[test]
    fn a_file_system_that_is_not_known_is_not_asked() {
        let file = File::open("/proc/self/maps").unwrap();
        let error = FileHoles::new(file.as_fd(), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn what_cannot_be_so_is_data() {
        type Answer = Result<u64, libc::c_int>;
        // The answers to SEEK_DATA, SEEK_HOLE and SEEK_END.
        let liars: [([Answer; 3], Range<u64>); 7] = [
            ([Err(libc::EINVAL), Ok(9), Ok(20)], 5..10),
            ([Ok(4), Ok(9), Ok(20)], 5..10),
            ([Ok(6), Ok(6), Ok(20)], 6..10),
            ([Ok(6), Ok(0), Ok(20)], 6..10),
            ([Ok(6), Err(libc::ENXIO), Ok(20)], 6..10),
            ([Err(libc::ENXIO), Ok(9), Ok(9)], 5..10),
            ([Err(libc::ENXIO), Ok(9), Err(libc::EIO)], 5..10),
        ];
        for (answers, want) in liars {
            let seek = |_, whence| match whence {
                libc::SEEK_DATA => answers[0],
                libc::SEEK_HOLE => answers[1],
                _ => answers[2],
            };
            let mut all = Vec::new();
            for_each_data(5..10, seek, &mut |part| all.push(part));
            assert_eq!(all, [want], "{answers:?}");
        }
    }
}
