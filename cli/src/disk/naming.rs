// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A new name for a file or folder, which nothing else has: nothing is ever replaced.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Renames a file or folder, unless there is something of the new name.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system can do that in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            if from.is_dir() {
                rename_folder(from, to)
            } else {
                rename_file(from, to)
            }
        }
        result => Ok(result?),
    }
}

/// The path with something behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Behind the name of what is not complete.
pub(crate) const PARTIAL: &str = ".partial";

/// A link is made only where no name is. Without links the name is taken by an empty file first.
fn rename_file(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {
            // The file has its name, whatever becomes of the other.
            if let Err(error) = fs::remove_file(from) {
                log::warn!("{} stays as a second name: {error}", from.display());
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(error) => {
            log::debug!("no links there: {error}");
            rename_over_empty(from, to)
        }
    }
}

fn rename_over_empty(from: &Path, to: &Path) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    drop(options.write(true).create_new(true).mode(0o600).open(to)?);
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}

/// A folder replaces an empty one only, so the name is taken by an empty one that this process has made.
fn rename_folder(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_dir(to);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    type Rename = fn(&Path, &Path) -> io::Result<()>;

    /// What names of all kinds do: each is `taken` by something that must stay.
    fn refused(rename: Rename, from: &Path, folder: &Path) {
        fs::write(folder.join("file"), "theirs").unwrap();
        fs::create_dir(folder.join("folder")).unwrap();
        symlink("nowhere", folder.join("link")).unwrap();
        for name in ["file", "folder", "link"] {
            let error = rename(from, &folder.join(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert_eq!(fs::read(folder.join("file")).unwrap(), b"theirs");
        assert!(folder.join("folder").is_dir());
        let link = fs::read_link(folder.join("link")).unwrap();
        assert_eq!(link, PathBuf::from("nowhere"));
        assert!(from.exists());
    }

    #[test]
    fn files_get_names_that_are_free_only() {
        for rename in [rename as Rename, rename_file, rename_over_empty] {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            fs::write(&from, "mine").unwrap();
            refused(rename, &from, folder.path());
            rename(&from, &to).unwrap();
            assert_eq!(fs::read(&to).unwrap(), b"mine");
            assert!(!from.exists());
        }
    }

    #[test]
    fn folders_get_names_that_are_free_only() {
        for rename in [rename as Rename, rename_folder] {
            let folder = tempfile::tempdir().unwrap();
            let (from, to) = (folder.path().join("from"), folder.path().join("to"));
            fs::create_dir(&from).unwrap();
            fs::write(from.join("inside"), "mine").unwrap();
            refused(rename, &from, folder.path());
            rename(&from, &to).unwrap();
            assert_eq!(fs::read(to.join("inside")).unwrap(), b"mine");
            assert!(!from.exists());
        }
    }

    #[test]
    fn a_failure_leaves_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for rename in [
            rename as Rename,
            rename_file,
            rename_over_empty,
            rename_folder,
        ] {
            assert!(rename(&from, &to).is_err());
            assert!(!to.exists());
        }
    }
}
