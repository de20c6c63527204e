// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! New files and folders that only their owner may look into: a guest's memory holds its secrets.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// What is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
}

impl Kind {
    /// Creates it where nothing is, and opens it.
    pub(crate) fn create(self, path: &Path) -> io::Result<File> {
        match self {
            Self::File => new_file(path),
            Self::Folder => {
                new_folder(path)?;
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let flags = i32::try_from(flags.bits()).unwrap_or(0);
                let folder = OpenOptions::new().read(true).custom_flags(flags).open(path);
                folder.inspect_err(|_| {
                    let _ = fs::remove_dir(path);
                })
            }
        }
    }
}

/// Creates a file, to read and write it.
pub(crate) fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    options.mode(FILE_MODE).open(path)
}

/// Creates a folder.
pub(crate) fn new_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// The permissions of a file that this process has created.
pub(crate) const FILE_MODE: u32 = 0o600;
