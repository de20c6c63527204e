// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What has been written, on the disk.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::fsync;
use rustix::io::Errno;

/// Has the names in a folder written to the disk, where its file system can do that.
pub(crate) fn folder(folder: &File) -> io::Result<()> {
    where_possible(fsync(folder))
}

/// Has a file written to the disk that need not be on one: memory has nothing to write.
pub(crate) fn any_file(file: &File) -> io::Result<()> {
    where_possible(fsync(file))
}

/// Has the name of a file or folder written to the disk.
pub(crate) fn parent_of(path: &Path) -> io::Result<()> {
    folder(&File::open(parent(path))?)
}

/// The folder that a path is in.
pub(crate) fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

/// Not every file system can sync a folder, and none of memory needs to: those answer so, and keep names
/// in their own way. Any other answer means that something was not written.
fn where_possible(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::ROFS) => {
            log::debug!("a file system does not sync on demand");
            Ok(())
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_it_is_no_error_and_a_failed_disk_is_one() {
        for none in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::ROFS] {
            where_possible(Err(none)).unwrap();
        }
        for bad in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::BADF] {
            assert!(where_possible(Err(bad)).is_err(), "{bad}");
        }
        where_possible(Ok(())).unwrap();
    }

    #[test]
    fn what_cannot_be_synced_answers_so() {
        // Linux has no fsync of these.
        let zeros = File::open("/dev/zero").unwrap();
        assert_eq!(fsync(&zeros), Err(Errno::INVAL));
        any_file(&zeros).unwrap();
    }

    #[test]
    fn every_path_is_in_a_folder() {
        for (path, want) in [("guest", "."), ("a/guest", "a"), ("/guest", "/")] {
            assert_eq!(parent(Path::new(path)), Path::new(want));
        }
        parent_of(Path::new("guest")).unwrap();
        assert!(parent_of(Path::new("/no such folder/guest")).is_err());
    }
}
