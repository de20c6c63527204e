// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which sockets a transport can be made from.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::option::{option, set_option};

/// A connected stream socket, for [`SocketTransport::new`](super::SocketTransport::new). Convert what is not among the
/// implementors to an [`OwnedFd`].
pub trait ConnectedSocket: sealed::Prepare {}

impl ConnectedSocket for TcpStream {}
impl ConnectedSocket for UnixStream {}
impl ConnectedSocket for OwnedFd {}

mod sealed {
    use std::io;
    use std::os::fd::OwnedFd;

    #[allow(unreachable_pub, reason = "bound of a public trait")]
    pub trait Prepare {
        /// Sets what options a migration needs, on what must be a stream socket.
        ///
        /// # Errors
        /// It is none; the system's.
        fn prepare(self) -> io::Result<OwnedFd>;
    }
}

impl sealed::Prepare for TcpStream {
    fn prepare(self) -> io::Result<OwnedFd> {
        self.set_nodelay(true)?;
        Ok(self.into())
    }
}

impl sealed::Prepare for UnixStream {
    fn prepare(self) -> io::Result<OwnedFd> {
        Ok(self.into())
    }
}

impl sealed::Prepare for OwnedFd {
    fn prepare(self) -> io::Result<OwnedFd> {
        if option(self.as_fd(), (libc::SOL_SOCKET, libc::SO_TYPE))? != libc::SOCK_STREAM {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a stream socket",
            ));
        }
        // Only TCP has it. Where it cannot be set there is nothing to put off.
        let _ = set_option(self.as_fd(), (libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::transport::SocketTransport;

    #[test]
    fn a_tcp_connection_never_waits_for_more_to_send() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!connect().nodelay().unwrap(), "the system's default");
        for transport in [
            SocketTransport::new(connect()).unwrap(),
            SocketTransport::new(OwnedFd::from(connect())).unwrap(),
        ] {
            let nodelay = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
            assert_ne!(option(transport.as_fd(), nodelay).unwrap(), 0);
        }
    }

    #[test]
    fn others_have_no_such_option() {
        let (here, there) = UnixStream::pair().unwrap();
        SocketTransport::new(OwnedFd::from(here)).unwrap();
        SocketTransport::new(there).unwrap();
    }
}
