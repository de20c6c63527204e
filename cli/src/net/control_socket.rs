// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The socket on which a running relay is asked and told things.

use std::env;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};

use crate::net::socket_file::SocketFile;

/// Listens for this user and root only.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    /// It goes first.
    _file: SocketFile,
    listener: UnixListener,
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) user: u32,
}

impl ControlSocket {
    /// Listens at `path`, in place of a socket there that nobody listens on any more.
    ///
    /// # Errors
    /// The system's; somebody listens there, or it is something else than a socket.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let _alone = lock_folder(path);
        let (_file, listener) = SocketFile::bind(path, bind_private)?;
        Ok(Self { _file, listener })
    }

    /// Accepts a connection that is there already.
    pub(crate) fn accept(&self) -> io::Result<(UnixStream, Asker)> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        let credentials = sockopt::socket_peercred(&stream)?;
        let asker = Asker {
            user: credentials.uid.as_raw(),
        };
        Ok((stream, asker))
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Asker {
    /// Whether it may ask: it is root, or whoever runs this process.
    pub(crate) fn is_trusted(self) -> bool {
        self.user == 0 || self.user == rustix::process::geteuid().as_raw()
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.user)
    }
}

/// Where a relay listens that is not told where: in the folder that systemd has made for it, the user's, or the
/// service's if there is one. `None` if there is none of them.
pub(crate) fn of_relay() -> Option<PathBuf> {
    // Several are separated by colons.
    let own = env::var("RUNTIME_DIRECTORY").ok();
    let own = own.and_then(|folders| folders.split(':').next().map(PathBuf::from));
    let folders = own.into_iter().chain(shared_folders());
    let mut folders = folders.filter(|folder| folder.is_absolute() && folder.is_dir());
    Some(folders.next()?.join(NAME))
}

/// Where a relay may listen that was not told where, the likeliest first.
pub(crate) fn of_relays() -> Vec<PathBuf> {
    let mut paths: Vec<_> = of_relay().into_iter().collect();
    paths.extend(shared_folders().map(|folder| folder.join(NAME)));
    paths.dedup();
    paths
}

fn shared_folders() -> impl Iterator<Item = PathBuf> {
    let user = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    user.into_iter().chain([PathBuf::from(SERVICE_FOLDER)])
}

/// A socket that has its mode before it has a name: there is no moment in which others may connect.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Keeps two relays from taking the same socket for one that is left behind, and each other's for it. Who holds the
/// folder for long, and who may not read it, keeps nobody from starting.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = File::open(folder.unwrap_or(Path::new("."))).ok()?;
    for _ in 0..LOCK_TRIES {
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Some(folder);
        }
        thread::sleep(LOCK_PAUSE);
    }
    None
}

const NAME: &str = "multifd-relay.sock";
/// `RuntimeDirectory=` of the unit.
const SERVICE_FOLDER: &str = "/run/multifd";
const BACKLOG: i32 = 16;
const LOCK_TRIES: usize = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = ControlSocket::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = ControlSocket::bind(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);

        // As it is left behind by a process that was killed.
        let left = folder.path().join("left");
        std::fs::rename(&path, &left).unwrap();
        drop(first);
        let second = ControlSocket::bind(&left).unwrap();
        assert!(left.exists() && !path.exists());
        drop(second);
        assert!(!left.exists());

        std::fs::write(&path, b"a file").unwrap();
        ControlSocket::bind(&path).unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    }

    #[test]
    fn what_others_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = ControlSocket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(socket);
        assert!(path.exists());
        drop(other);
    }
}
