// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Mapped files on their way to a disk.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Has the system start to write what is dirty in a file, also through mappings of it, and does not wait
/// for it. What is on the disk then is not known: that is what `fsync(2)` is for, which has less to do later.
///
/// # Errors
/// What `sync_file_range(2)` answers: `ESPIPE` for what is no regular file. An error of the disk is not
/// among them, and is left for `fsync(2)` to answer.
pub fn start_writeback(file: BorrowedFd<'_>) -> io::Result<()> {
    let start = libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open for as long as it is borrowed, and no memory is named.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, start) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use std::{fs, thread};

    use super::super::{Mapping, RamBlock};
    use super::*;
    use crate::wire::BlockName;

    const PAGES: usize = 64;

    /// KiB of a mapped file that are dirty, as far as the page tables say.
    fn dirty(name: &str) -> u64 {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.lines().skip_while(|line| !line.ends_with(name));
        of_file
            .filter_map(|line| line.strip_prefix("Private_Dirty:"))
            .take(1)
            .map(|value| value.trim().trim_end_matches(" kB").parse::<u64>().unwrap())
            .sum()
    }

    #[test]
    fn what_is_dirty_becomes_clean() {
        let name = format!("multifd-writeback-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let mut options = fs::File::options();
        let options = options.read(true).write(true).create_new(true);
        let file = options.open(&path).unwrap();
        file.set_len((PAGES * 4096) as u64).unwrap();
        let mapping = Mapping::shared(file.as_fd(), PAGES * 4096).unwrap();
        let block = RamBlock::new(BlockName::new("ram").unwrap(), Arc::new(mapping)).unwrap();
        for page in 0..PAGES as u64 {
            block.span(page * 4096, 1).unwrap().copy_from(&[1]);
        }
        assert_eq!(dirty(&name), PAGES as u64 * 4);
        start_writeback(file.as_fd()).unwrap();
        // A system leaves dirty pages alone for 30 s, unless it is asked.
        let start = Instant::now();
        while dirty(&name) > 0 && !is_memory(&path) {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(&path).unwrap();
    }

    /// What is in memory is never written anywhere.
    fn is_memory(path: &std::path::Path) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let of = |line: &str| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        };
        let mounts = mounts.lines().filter_map(of);
        let deepest = mounts
            .filter(|(at, _)| path.starts_with(at))
            .max_by_key(|(at, _)| at.len());
        deepest.is_some_and(|(_, kind)| kind == "tmpfs" || kind == "ramfs")
    }

    #[test]
    fn what_is_no_file_is_an_error() {
        let (_, pipe) = std::io::pipe().unwrap();
        let error = start_writeback(pipe.as_fd()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESPIPE));
    }
}
