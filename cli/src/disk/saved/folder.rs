// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Opening what is in a folder that nobody has checked.

use std::fs::File;
use std::io::{Read as _, Take};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

/// A folder whose files are opened by their names in it. No link is followed, so that nothing outside of
/// it is read, and nothing but a file is opened.
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder that the user has named.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens a folder in this one.
    pub(super) fn folder(&self, name: &str) -> anyhow::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(&self.0, name, flags, Mode::empty());
        Ok(Self(folder.with_context(|| name.to_owned())?))
    }

    /// Opens a file to read it. `name` is a name, not a path.
    pub(super) fn file(&self, name: &str) -> anyhow::Result<File> {
        self.try_file(name).with_context(|| name.to_owned())
    }

    /// Opens a file that has so many bytes.
    pub(super) fn file_of(&self, name: &str, bytes: u64) -> anyhow::Result<File> {
        let file = self.file(name)?;
        let got = file.metadata()?.len();
        ensure!(
            got == bytes,
            "{name}: the file has {got} bytes, wanted {bytes}"
        );
        Ok(file)
    }

    /// Reads a file of up to `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file: Take<File> = self.file(name)?.take(limit.saturating_add(1));
        file.read_to_end(&mut bytes)
            .with_context(|| name.to_owned())?;
        ensure!(
            bytes.len() as u64 <= limit,
            "{name}: more than {limit} bytes"
        );
        Ok(bytes)
    }

    fn try_file(&self, name: &str) -> anyhow::Result<File> {
        ensure!(!name.contains('/'), "a path, wanted a name");
        // A pipe would be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(self.0.as_fd(), name, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        ensure!(kind == FileType::RegularFile, "no regular file");
        Ok(file.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_of_the_folder_are_opened() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("saved");
        fs::create_dir(&path).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        fs::write(path.join("good"), "1234").unwrap();
        symlink("../secret", path.join("link")).unwrap();
        symlink("..", path.join("up")).unwrap();
        fs::create_dir(path.join("ram")).unwrap();
        rustix::fs::mknodat(CWD, path.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();

        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.read("good", 4).unwrap(), b"1234");
        assert!(
            folder
                .read("good", 3)
                .unwrap_err()
                .to_string()
                .contains("more than 3")
        );
        folder.file_of("good", 4).unwrap();
        assert!(folder.file_of("good", 5).is_err());
        folder.folder("ram").unwrap();
        for name in ["link", "pipe", "ram", "missing", "../secret", "", ".", ".."] {
            assert!(folder.file(name).is_err(), "{name}");
        }
        for name in ["up", "good", "missing"] {
            assert!(folder.folder(name).is_err(), "{name}");
        }
        assert!(Folder::open(&path.join("good")).is_err());
    }
}
