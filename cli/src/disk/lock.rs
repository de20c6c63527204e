// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Locks that say that a process writes to a file or folder. They end with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

/// What became of the attempt to lock something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// It is this process's as long as the file is open.
    Held,
    /// Another process has it.
    Busy,
    /// The file system has no locks: nobody knows.
    Unknown,
}

impl Lock {
    /// Tries to lock an open file or folder; does not wait.
    pub(crate) fn attempt(file: &File) -> io::Result<Self> {
        Self::of(flock(file, FlockOperation::NonBlockingLockExclusive))
    }

    fn of(answer: Result<(), Errno>) -> io::Result<Self> {
        match answer {
            Ok(()) => Ok(Self::Held),
            Err(Errno::WOULDBLOCK) => Ok(Self::Busy),
            // NFS without a lock daemon; a file system without locks; and NFS again, which wants what it
            // locks to be open for writing, as no folder can be.
            Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS | Errno::BADF) => {
                log::warn!("the file system has no locks: see that nobody else writes there");
                Ok(Self::Unknown)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Opens a file or folder to lock it: neither a link nor what is behind one, and no pipe is waited for.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty()).map(File::from)?)
}

/// Whether a path still leads to this file or folder. No link is followed.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (file, there) = (file.metadata()?, path.symlink_metadata()?);
    Ok((file.dev(), file.ino()) == (there.dev(), there.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::open(folder.path()).unwrap();
        let first = open();
        assert_eq!(Lock::attempt(&first).unwrap(), Lock::Held);
        assert_eq!(Lock::attempt(&open()).unwrap(), Lock::Busy);
        drop(first);
        assert_eq!(Lock::attempt(&open()).unwrap(), Lock::Held);
    }

    #[test]
    fn a_file_system_without_locks_is_no_error() {
        for none in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF] {
            assert_eq!(Lock::of(Err(none)).unwrap(), Lock::Unknown);
        }
        assert!(Lock::of(Err(Errno::IO)).is_err());
    }

    #[test]
    fn another_file_of_the_same_name_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::write(folder.path().join("other"), "").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(is_at(&file, &path).is_err());
    }
}
