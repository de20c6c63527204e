// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The source's connections.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use multifd_core::transport::{SocketTransport, UNIX_SEND_BUFFER};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::net::uri::Uri;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Connects, and tries again for up to `wait` while nobody listens. A host that is gone later is noticed after
/// `limit`.
pub(crate) fn first(
    uri: &Uri,
    wait: Duration,
    limit: Duration,
) -> Result<SocketTransport, Failure> {
    let once = &mut || dial(uri, limit, &|| false);
    patiently(wait, &|| false, once).map_err(|error| failure(uri, &error))
}

/// Connects with `dial`, and tries again for up to `wait` while nobody listens, unless that is `cancelled`.
pub(crate) fn patiently(
    wait: Duration,
    cancelled: &dyn Fn() -> bool,
    dial: &mut dyn FnMut() -> io::Result<SocketTransport>,
) -> io::Result<SocketTransport> {
    let start = Instant::now();
    loop {
        match dial() {
            Err(error) if nobody_listens(&error) && start.elapsed() < wait && !cancelled() => {
                log::debug!("nobody listens yet: {error}");
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// Connects one more channel to a destination that has taken the main connection.
pub(crate) fn channel(uri: &Uri, channel: u8, limit: Duration) -> Result<SocketTransport, Failure> {
    dial(uri, limit, &|| false).map_err(|error| {
        let what = format!("source, channel {channel}: cannot connect to {uri}: {error}");
        Failure::new(ExitCode::Connection, what).hint(
            "the destination took the main connection and then stopped listening: see its own \
             messages, and set multifd and multifd-channels to the same values on both sides",
        )
    })
}

/// Connects, unless that is `cancelled` while the other side does not answer. A host that is gone later is
/// noticed after `limit`.
pub(crate) fn dial(
    uri: &Uri,
    limit: Duration,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<SocketTransport> {
    match uri {
        Uri::Tcp { host, port } => {
            let host = if host.is_empty() { "localhost" } else { host };
            SocketTransport::tcp(connect_tcp(host, *port, cancelled)?, limit)
        }
        Uri::Unix(path) => {
            let transport = SocketTransport::new(connect_unix(path, cancelled)?)?;
            transport.set_send_buffer(UNIX_SEND_BUFFER)?;
            Ok(transport)
        }
    }
}

/// Tries each address of the host.
fn connect_tcp(host: &str, port: u16, cancelled: &dyn Fn() -> bool) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        match connect_address(&address, cancelled) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
        if cancelled() {
            break;
        }
    }
    Err(last)
}

/// Connects, and looks meanwhile whether that is `cancelled`.
fn connect_address(address: &SocketAddr, cancelled: &dyn Fn() -> bool) -> io::Result<TcpStream> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    match net::connect(&socket, address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => wait_connected(&socket, cancelled)?,
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn wait_connected(socket: &OwnedFd, cancelled: &dyn Fn() -> bool) -> io::Result<()> {
    let start = Instant::now();
    let pause = Timespec::try_from(PAUSE).ok();
    loop {
        let mut fds = [PollFd::new(socket, PollFlags::OUT)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, pause.as_ref()))?;
        if ready > 0 {
            return Ok(net::sockopt::socket_error(socket)??);
        }
        if start.elapsed() >= CONNECT_LIMIT {
            let what = format!("it has not answered for {} s", CONNECT_LIMIT.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        if cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

/// Tries again while nobody accepts what is connected already.
fn connect_unix(path: &Path, cancelled: &dyn Fn() -> bool) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let start = Instant::now();
    loop {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN) if start.elapsed() < CONNECT_LIMIT && !cancelled() => {
                thread::sleep(PAUSE);
            }
            Err(Errno::AGAIN) => {
                let what =
                    "it accepts no more connections: is multifd-channels the same on both sides?";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn nobody_listens(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error.kind(), ConnectionRefused | NotFound)
}

fn failure(uri: &Uri, error: &io::Error) -> Failure {
    let what = format!("source: cannot connect to {uri}: {error}");
    let failure = Failure::new(ExitCode::Connection, what);
    if nobody_listens(error) {
        failure.hint(
            "start the destination first (multifd recv, or QEMU with -incoming), or let the \
             source wait for it with --wait SECONDS",
        )
    } else {
        failure
    }
}

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// A host that does not answer at all is given up after this time, not after the kernel's two minutes.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
