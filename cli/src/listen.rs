//! The destination's connections.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use multifd_core::transport::SocketTransport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::tcp;
use crate::uri::Uri;

/// Listens on an address; a unix socket's file is removed on drop.
pub(crate) struct Listener {
    socket: Socket,
    uri: Uri,
    wake: UnixStream,
    waker: Waker,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Ends [`Listener::wait`] from another thread.
#[derive(Clone)]
pub(crate) struct Waker(Arc<UnixStream>);

/// What [`Listener::wait`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// There may be a connection to accept.
    Connection,
    /// Someone called [`Waker::wake`].
    Woken,
    /// Nothing for as long as allowed.
    TimedOut,
}

impl Listener {
    pub(crate) fn bind(uri: &Uri) -> Result<Self, Failure> {
        Self::try_bind(uri).map_err(|error| {
            let what = format!("destination: cannot listen on {uri}: {error}");
            let failure = Failure::new(ExitCode::Connection, what);
            match error.kind() {
                io::ErrorKind::AddrInUse => {
                    failure.hint("something else listens there: end it, or choose another address")
                }
                _ => failure,
            }
        })
    }

    fn try_bind(uri: &Uri) -> io::Result<Self> {
        let (socket, uri) = match uri {
            Uri::Tcp { host, port } => {
                let socket = bind_tcp(host, *port)?;
                let address = socket.local_addr()?;
                socket.set_nonblocking(true)?;
                let uri = Uri::Tcp {
                    host: address.ip().to_string(),
                    port: address.port(),
                };
                (Socket::Tcp(socket), uri)
            }
            Uri::Unix(path) => {
                let socket = bind_unix(path)?;
                socket.set_nonblocking(true)?;
                (Socket::Unix(socket), uri.clone())
            }
        };
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        Ok(Self {
            socket,
            uri,
            wake,
            waker: Waker(Arc::new(waker)),
        })
    }

    /// The address, with the port that the kernel chose for port 0.
    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for a connection or a wake-up; `None` waits for ever.
    pub(crate) fn wait(&mut self, limit: Option<Duration>) -> io::Result<Ready> {
        let limit = limit.map(|limit| Timespec::try_from(limit).unwrap_or(LONGEST));
        let (woken, connected, none) = {
            let mut fds = [
                PollFd::new(&self.wake, PollFlags::IN),
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
            ];
            let count = rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()))?;
            let [wake, socket] = &fds;
            (
                !wake.revents().is_empty(),
                !socket.revents().is_empty(),
                count == 0,
            )
        };
        if none {
            return Ok(Ready::TimedOut);
        }
        if woken {
            let mut bytes = [0; 64];
            // What is left wakes once more, which does no harm.
            let _ = self.wake.read(&mut bytes);
        }
        Ok(if connected {
            Ready::Connection
        } else {
            Ready::Woken
        })
    }

    /// Accepts a connection that is there already.
    pub(crate) fn accept(&self) -> io::Result<Option<SocketTransport>> {
        let accepted: io::Result<OwnedFd> = match &self.socket {
            Socket::Tcp(socket) => socket.accept().and_then(|(stream, _)| {
                tcp::prepare(&stream)?;
                Ok(stream.into())
            }),
            Socket::Unix(socket) => socket.accept().map(|(stream, _)| stream.into()),
        };
        match accepted {
            Ok(stream) => SocketTransport::new(stream).map(Some),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Uri::Unix(path) = &self.uri {
            // It may be gone already, with its folder.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Waker {
    pub(crate) fn wake(&self) {
        // A full pipe wakes as well.
        let _ = (&*self.0).write(&[1]);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// Binds to the first address of the host that can be bound to.
fn bind_tcp(host: &str, port: u16) -> io::Result<TcpListener> {
    if host.is_empty() {
        // The first takes IPv4 too, where the system has IPv6.
        return TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
    }
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    TcpListener::bind(addresses.as_slice())
}

/// Binds, also where a process that has ended left its socket behind.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        result => result,
    }
}

/// Asks with a socket of another type, which a live listener does not notice.
fn is_left_behind(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixDatagram::unbound().is_ok_and(|probe| probe.connect(path).is_err_and(refused))
}

/// Whether there is no connection any more, which may happen after it was announced.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | ConnectionAborted | Interrupted)
}

/// A time that is as good as for ever.
const LONGEST: Timespec = Timespec {
    tv_sec: i64::MAX,
    tv_nsec: 0,
};
