// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration within this process.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use migration_params::Parameters;
use multifd_core::transport::{SocketTransport, Transport, UNIX_SEND_BUFFER};
use multifd_core::{ChannelCount, GuestMemory};
use multifd_migration::{
    Connections, Destination, DestinationConfig, Report, Source, SourceConfig, SourceFailure,
};

use super::memory::FileHost;
use super::methods;

/// Migrates memory over unix sockets, with so many channels, as `run` has the source do it. Answers what the source
/// reports.
///
/// # Errors
/// Whatever fails at either end.
pub fn migrate(
    (config, channels): (SourceConfig, u8),
    from: GuestMemory,
    to: GuestMemory,
    run: impl FnOnce(Source) -> Result<Report, SourceFailure>,
) -> Result<Report> {
    let method = methods::open(&Parameters::default())?;
    let mut receiving = DestinationConfig::default();
    receiving.receiver.channels = ChannelCount::new(channels).context("channels")?;
    let destination = Destination::new(receiving, Arc::clone(&method));
    let connect = || -> Result<Box<dyn Transport>> {
        let (ours, theirs) = UnixStream::pair()?;
        destination.accept(Box::new(SocketTransport::new(theirs)?))?;
        let ours = SocketTransport::new(ours)?;
        ours.set_send_buffer(UNIX_SEND_BUFFER)?;
        Ok(Box::new(ours))
    };
    let main = connect()?;
    let channels = (0..channels).map(|_| connect());
    let connections = Connections::new(main, channels.collect::<Result<_>>()?)?;
    let source = Source::new(config, from, method, connections)?;
    let mut host = FileHost::new(to);
    let (sent, received) = thread::scope(|scope| {
        let received = scope.spawn(|| destination.run(&mut host));
        (run(source), received.join())
    });
    received.map_err(|_| anyhow!("the destination panicked"))??;
    Ok(sent?)
}
