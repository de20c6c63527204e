// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The file of a unix socket that listens.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// Is removed on drop, if it is still this one's: another one of the same name is somebody else's.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    id: Option<FileId>,
}

/// The file system and the number of a file in it.
type FileId = (u64, u64);

impl SocketFile {
    /// Has `bind` make the file, also where a process that has ended left its socket behind.
    ///
    /// # Errors
    /// What `bind` answers, or the one that was left behind cannot be removed.
    pub(super) fn bind<T>(
        path: &Path,
        bind: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(Self, T)> {
        let socket = match bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
                std::fs::remove_file(path)?;
                bind(path)
            }
            result => result,
        };
        let socket = socket?;
        let (path, id) = (path.to_owned(), file_id(path));
        Ok((Self { path, id }, socket))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.id.is_some() && file_id(&self.path) == self.id {
            // It may be gone already, with its folder.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Which file has this name, if one does.
fn file_id(path: &Path) -> Option<FileId> {
    let file = std::fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Asks with a socket of another type, which a live listener does not notice.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixDatagram::unbound().is_ok_and(|probe| probe.connect(path).is_err_and(refused))
}
