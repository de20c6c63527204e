//! Connections over unix sockets.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};
use migration::{Connections, Destination};
use multifd_core::transport::{SocketTransport, Transport, UNIX_SEND_BUFFER};

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
    let main = connect()?;
    let back = if return_path {
        Some(boxed(main.try_clone()?))
    } else {
        None
    };
    let channels = (0..channels)
        .map(|_| Ok(boxed(connect()?)))
        .collect::<Result<_>>()?;
    Ok(Connections {
        main: boxed(main),
        return_path: back,
        channels,
    })
}

/// Accepts connections until the destination has all it wants.
///
/// # Errors
/// The listener's, or the migration has failed.
pub fn accept_all(listener: &UnixListener, destination: &Destination) -> Result<()> {
    while !destination.is_complete() {
        let (stream, _) = listener.accept()?;
        destination.accept(boxed(SocketTransport::new(stream)?))?;
    }
    Ok(())
}

fn boxed(transport: SocketTransport) -> Box<dyn Transport> {
    Box::new(transport)
}
