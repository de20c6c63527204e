// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections over unix sockets and TCP.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use multifd_core::transport::{SocketTransport, Transport, UNIX_SEND_BUFFER};
use multifd_migration::{Connections, Destination};

/// Connects a source to a destination that listens at `path`, with a return path if wanted.
///
/// # Errors
/// Nobody listens there.
pub fn connect(path: &Path, channels: usize, return_path: bool) -> Result<Connections> {
    let connect = || -> Result<SocketTransport> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("connecting to {}", path.display()))?;
        let transport = SocketTransport::new(stream)?;
        transport.set_send_buffer(UNIX_SEND_BUFFER)?;
        Ok(transport)
    };
    connect_all(connect, channels, return_path)
}

/// As [`connect`], over TCP.
///
/// # Errors
/// As [`connect`].
pub fn connect_tcp(address: SocketAddr, channels: usize, return_path: bool) -> Result<Connections> {
    let connect = || -> Result<SocketTransport> {
        let stream = TcpStream::connect(address);
        let stream = stream.with_context(|| format!("connecting to {address}"))?;
        Ok(SocketTransport::new(stream)?)
    };
    connect_all(connect, channels, return_path)
}

fn connect_all(
    connect: impl Fn() -> Result<SocketTransport>,
    channels: usize,
    return_path: bool,
) -> Result<Connections> {
    let main = connect()?;
    let channels = (0..channels)
        .map(|_| Ok(boxed(connect()?)))
        .collect::<Result<_>>()?;
    Ok(match return_path {
        true => Connections::new(boxed(main), channels)?,
        false => Connections::one_way(boxed(main), channels),
    })
}

/// Accepts connections until the destination has all it wants, or has failed.
///
/// # Errors
/// The listener's.
pub fn accept_all(listener: &UnixListener, destination: &Destination) -> Result<()> {
    accept_all_as(listener, destination, |connection| connection)
}

/// As [`accept_all`], with what `session` makes of each connection.
///
/// That a connection was accepted says nothing: the destination has it when its first bytes have come.
///
/// # Errors
/// The listener's.
pub fn accept_all_as(
    listener: &UnixListener,
    destination: &Destination,
    session: impl Fn(Box<dyn Transport>) -> Box<dyn Transport>,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let accept = || SocketTransport::new(listener.accept()?.0);
    accept_while_wanted(accept, destination, session)
}

/// As [`accept_all`], over TCP.
///
/// # Errors
/// As [`accept_all`].
pub fn accept_all_tcp(listener: &TcpListener, destination: &Destination) -> Result<()> {
    listener.set_nonblocking(true)?;
    let accept = || SocketTransport::new(listener.accept()?.0);
    accept_while_wanted(accept, destination, |connection| connection)
}

fn accept_while_wanted(
    accept: impl Fn() -> io::Result<SocketTransport>,
    destination: &Destination,
    session: impl Fn(Box<dyn Transport>) -> Box<dyn Transport>,
) -> Result<()> {
    while !destination.is_complete() && destination.abort_handle().error().is_none() {
        match accept() {
            // The migration knows what is wrong.
            Ok(transport) => drop(destination.accept(session(boxed(transport)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn boxed(transport: SocketTransport) -> Box<dyn Transport> {
    Box::new(transport)
}
