// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source and a destination in one process, and what can go wrong between them.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, anyhow};
use multifd_core::transport::{SocketTransport, Transport, UNIX_SEND_BUFFER};
use multifd_core::{AbortHandle, ChannelCount, GuestMemory, MultifdMethods, PageSize};
use multifd_migration::stream::{Incoming, Reader};
use multifd_migration::{
    Connections, Destination, DestinationConfig, DestinationFailure, Report, Source, SourceConfig,
    SourceFailure, SourceHandle,
};

use super::Guest;
use super::guest::memory;
use crate::host::{FileHost, Start};
use crate::network::Endpoint;

/// How a migration is set up.
pub struct Pair {
    /// The source's configuration.
    pub config: SourceConfig,
    /// The method of both sides.
    pub method: Arc<dyn MultifdMethods>,
    /// The number of channels.
    pub channels: u8,
    /// Whether the destination can answer.
    pub return_path: bool,
    /// Whether the destination is aborted while its host loads the devices.
    pub ends_destination_late: bool,
    /// What starts the guest at the destination.
    pub on_start: Option<Start>,
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
    pub devices: Option<multifd_migration::stream::Tail>,
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
        config: DestinationConfig,
        guest: &mut Guest,
        meanwhile: impl FnOnce(Controls) + Send,
    ) -> Result<Outcome> {
        let mut streams = Vec::new();
        let main = connect(&mut streams)?;
        self.run((config, main, streams), guest, meanwhile)
    }

    /// Migrates the guest over a main connection of the caller's: the source's end and the destination's. The cuts of
    /// the controls are of the channels only.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub fn migrate_over(
        self,
        (ours, theirs): (Endpoint, Endpoint),
        config: DestinationConfig,
        guest: &mut Guest,
        meanwhile: impl FnOnce(Controls) + Send,
    ) -> Result<Outcome> {
        let main: Ends = (Box::new(ours), Box::new(theirs));
        self.run((config, main, Vec::new()), guest, meanwhile)
    }

    fn run(
        mut self,
        (mut config, main, mut streams): (DestinationConfig, Ends, Vec<UnixStream>),
        guest: &mut Guest,
        meanwhile: impl FnOnce(Controls) + Send,
    ) -> Result<Outcome> {
        let bytes = guest.memory().total_bytes();
        let copy = memory(bytes / 4096)?;
        config.receiver.channels =
            ChannelCount::new(self.channels).ok_or_else(|| anyhow!("no channels"))?;
        let destination = Destination::new(config, Arc::clone(&self.method));
        let (main, theirs) = main;
        destination.accept(theirs)?;
        let ends_late = self.ends_destination_late;
        let on_start = self.on_start.take();
        let mut channels = Vec::new();
        for _ in 0..self.channels {
            let (ours, theirs) = connect(&mut streams)?;
            destination.accept(theirs)?;
            channels.push(ours);
        }
        let abort = destination.abort_handle();
        let source = self.source(guest, main, channels);
        // One that cannot be made for a destination that has ended.
        let source = source.map_err(|error| match abort.error() {
            Some(reason) => error.context(reason),
            None => error,
        })?;
        let controls = Controls {
            source: source.handle(),
            destination: abort,
            streams,
        };
        let mut host = FileHost::new(copy.clone());
        host.on_start = on_start;
        host.on_complete = ends_late.then(|| destination.abort_handle());
        let (source, received) = thread::scope(|scope| {
            scope.spawn(|| meanwhile(controls));
            let received = scope.spawn(|| destination.run(&mut host));
            (source.run(guest), received.join())
        });
        Ok(Outcome {
            source,
            destination: received.map_err(|_| anyhow!("the destination panicked"))?,
            copy,
            devices: host.devices,
        })
    }

    /// Migrates the guest to a destination that does what `script` says on the main connection, and takes whatever
    /// comes on the channels.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub fn migrate_to_script(
        self,
        (ours, theirs): (Endpoint, Endpoint),
        guest: &mut Guest,
        script: impl FnOnce(Incoming, SourceHandle) + Send,
    ) -> Result<Result<Report, SourceFailure>> {
        let (mut channels, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..self.channels {
            let (ours, theirs) = UnixStream::pair()?;
            let ours: Box<dyn Transport> = Box::new(SocketTransport::new(ours)?);
            channels.push(ours);
            streams.push(theirs);
        }
        let source = self.source(guest, Box::new(ours), channels)?;
        let handle = source.handle();
        let main = Incoming::new(Reader::new(Box::new(theirs), &[]), PageSize::X86);
        thread::scope(|scope| {
            for mut stream in streams {
                scope.spawn(move || io::copy(&mut stream, &mut io::sink()));
            }
            scope.spawn(|| script(main, handle));
            Ok(source.run(guest))
        })
    }

    fn source(
        self,
        guest: &Guest,
        main: Box<dyn Transport>,
        channels: Vec<Box<dyn Transport>>,
    ) -> Result<Source> {
        let connections = match self.return_path {
            true => Connections::new(main, channels)?,
            false => Connections::one_way(main, channels),
        };
        Ok(Source::new(
            self.config,
            guest.memory(),
            self.method,
            connections,
        )?)
    }
}

/// The source's end of a connection, and the destination's.
type Ends = (Box<dyn Transport>, Box<dyn Transport>);

/// A connection over sockets; a handle of it goes to `streams`.
fn connect(streams: &mut Vec<UnixStream>) -> Result<Ends> {
    let (ours, theirs) = UnixStream::pair()?;
    streams.push(ours.try_clone()?);
    let transport = SocketTransport::new(ours)?;
    transport.set_send_buffer(UNIX_SEND_BUFFER)?;
    Ok((Box::new(transport), Box::new(SocketTransport::new(theirs)?)))
}
