// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sockets that listen, and what they accept.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use multifd_core::transport::SocketTransport;
use rustix::net::sockopt;

use crate::net::allowed::Caller;
use crate::net::peer::Peer;
use crate::net::socket_file::SocketFile;
use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// A socket that listens.
pub(super) struct Socket {
    /// Of a unix socket that was made here. It goes first.
    _file: Option<SocketFile>,
    kind: Kind,
    uri: Uri,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that was accepted.
pub(super) enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Socket {
    /// Makes one that listens.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn at(uri: &Uri) -> Result<Self, Failure> {
        Self::bind(uri).map_err(|error| {
            let what = format!("cannot listen on {uri}: {error}");
            let failure = Failure::new(ExitCode::Connection, what);
            match error.kind() {
                io::ErrorKind::AddrInUse => {
                    failure.hint("something else listens there: end it, or choose another address")
                }
                _ => failure,
            }
        })
    }

    fn bind(uri: &Uri) -> io::Result<Self> {
        match uri {
            Uri::Tcp { host, port } => Self::tcp(bind_tcp(host, *port)?),
            Uri::Unix(path) => {
                let (file, socket) = SocketFile::bind(path, |path| UnixListener::bind(path))?;
                socket.set_nonblocking(true)?;
                let (_file, kind) = (Some(file), Kind::Unix(socket));
                let uri = uri.clone();
                Ok(Self { _file, kind, uri })
            }
        }
    }

    /// A socket that listens already.
    pub(super) fn tcp(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let uri = Uri::Tcp {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let (_file, kind) = (None, Kind::Tcp(socket));
        Ok(Self { _file, kind, uri })
    }

    /// As [`Self::tcp`]. Whoever made its file removes it.
    pub(super) fn unix(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let uri = match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => Uri::Unix(path.into()),
            // As systemd and others write a name that is in no folder.
            (None, name) => {
                let name = String::from_utf8_lossy(name.unwrap_or_default());
                Uri::Unix(format!("@{name}").into())
            }
        };
        let (_file, kind) = (None, Kind::Unix(socket));
        Ok(Self { _file, kind, uri })
    }

    /// The address, with the port that the kernel chose for port 0.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn accept(&self) -> io::Result<Accepted> {
        match &self.kind {
            Kind::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                Ok(Accepted::Tcp(stream, address))
            }
            Kind::Unix(socket) => Ok(Accepted::Unix(socket.accept()?.0)),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Accepted {
    pub(super) fn caller(&self) -> Caller {
        match self {
            Self::Tcp(_, address) => Caller::Host(address.ip()),
            Self::Unix(stream) => match sockopt::socket_peercred(stream) {
                Ok(credentials) => Caller::User(credentials.uid.as_raw()),
                Err(_) => Caller::Nobody,
            },
        }
    }

    /// The connection, whose host is noticed when it is gone for longer than `limit`.
    pub(super) fn into_connection(self, limit: Duration) -> io::Result<(SocketTransport, Peer)> {
        match self {
            Self::Tcp(stream, address) => {
                let connection = SocketTransport::tcp(stream, limit)?;
                Ok((connection, Peer::Host(address.ip())))
            }
            Self::Unix(stream) => {
                let connection = SocketTransport::new(stream)?;
                let process = connection.peer_process();
                Ok((connection, process.map_or(Peer::Somebody, Peer::Process)))
            }
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
