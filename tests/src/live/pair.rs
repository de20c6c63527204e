//! A source and a destination in one process, and what can go wrong between them.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, anyhow};
use migration::{
    Connections, Destination, DestinationConfig, DestinationFailure, Report, Source, SourceConfig,
    SourceFailure, SourceHandle,
};
use multifd_core::transport::{SocketTransport, Transport, UNIX_SEND_BUFFER};
use multifd_core::{AbortHandle, ChannelCount, GuestMemory, MultifdMethods};

use super::Guest;
use super::guest::memory;
use crate::host::FileHost;

/// How a migration is set up.
pub struct Pair {
    /// The source's configuration.
    pub config: SourceConfig,
    /// The method of both sides.
    pub method: Arc<dyn MultifdMethods>,
    /// The number of channels.
    pub channels: u8,
}

/// What came of a migration.
pub struct Outcome {
    /// The source's answer.
    pub source: Result<Report, SourceFailure>,
    /// The destination's answer: with a report, it runs the guest.
    pub destination: Result<Report, DestinationFailure>,
    /// The destination's memory.
    pub copy: GuestMemory,
    /// The devices that the destination has loaded.
    pub devices: Option<migration::stream::Tail>,
}

/// What a test does to a migration while it runs.
pub struct Controls {
    /// Steers the source.
    pub source: SourceHandle,
    /// Aborts the destination.
    pub destination: AbortHandle,
    streams: Vec<UnixStream>,
}

impl Controls {
    /// Cuts a connection in both directions: 0 is the main channel.
    pub fn cut(&self, connection: usize) {
        if let Some(stream) = self.streams.get(connection % self.streams.len().max(1)) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts all connections, as a host does that is gone.
    pub fn cut_all(&self) {
        (0..self.streams.len()).for_each(|connection| self.cut(connection));
    }
}

impl Pair {
    /// Migrates the guest, while `meanwhile` runs on a thread of its own.
    ///
    /// # Errors
    /// What keeps the migration from starting at all.
    pub fn migrate(
        self,
        guest: &mut Guest,
        meanwhile: impl FnOnce(Controls) + Send,
    ) -> Result<Outcome> {
        self.migrate_to(DestinationConfig::default(), guest, meanwhile)
    }

    /// Migrates the guest to a destination of this configuration, but for its number of channels.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub fn migrate_to(
        self,
        mut config: DestinationConfig,
        guest: &mut Guest,
        meanwhile: impl FnOnce(Controls) + Send,
    ) -> Result<Outcome> {
        let bytes = guest.memory().total_bytes();
        let copy = memory(bytes / 4096)?;
        config.receiver.channels =
            ChannelCount::new(self.channels).ok_or_else(|| anyhow!("no channels"))?;
        let destination = Destination::new(config, Arc::clone(&self.method));
        let mut streams = Vec::new();
        let mut connect = || -> Result<SocketTransport> {
            let (ours, theirs) = UnixStream::pair()?;
            streams.push(ours.try_clone()?);
            destination.accept(Box::new(SocketTransport::new(theirs)?))?;
            let transport = SocketTransport::new(ours)?;
            transport.set_send_buffer(UNIX_SEND_BUFFER)?;
            Ok(transport)
        };
        let main = connect()?;
        let connections = Connections {
            return_path: Some(Box::new(main.try_clone()?)),
            main: Box::new(main),
            channels: (0..self.channels)
                .map(|_| Ok(Box::new(connect()?) as Box<dyn Transport>))
                .collect::<Result<_>>()?,
        };
        let source = Source::new(self.config, guest.memory(), &self.method, connections)?;
        let controls = Controls {
            source: source.handle(),
            destination: destination.abort_handle(),
            streams,
        };
        let mut host = FileHost::new(copy.clone());
        let (source, received) = thread::scope(|scope| {
            scope.spawn(|| meanwhile(controls));
            let received = scope.spawn(|| destination.run(&mut host));
            (source.migrate(guest), received.join())
        });
        Ok(Outcome {
            source,
            destination: received.map_err(|_| anyhow!("the destination panicked"))?,
            copy,
            devices: host.devices,
        })
    }
}
