// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A destination that cannot take the guest says so, and the source knows it from there.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use migration_params::{Compression, Parameters, ZeroPageDetection};
use multifd_core::transport::SocketTransport;
use multifd_core::{Error, Fault, GuestMemory};
use multifd_migration::source::GuestAfter;
use multifd_migration::stream::{AnnouncedBlock, Configuration, Tail};
use multifd_migration::{
    Connections, Destination, DestinationConfig, DestinationHost, HostError, Report, Source,
    SourceConfig,
};
use multifd_tests::host::{self, accept_all, connect, file_memory};
use tempfile::TempDir;

/// A host that takes the memory, or not even that.
struct Unwilling {
    memory: Option<GuestMemory>,
}

impl DestinationHost for Unwilling {
    fn memory(
        &mut self,
        _configuration: &Configuration,
        _blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        self.memory
            .clone()
            .ok_or_else(|| "no room for this guest".into())
    }

    fn complete(&mut self, _devices: &Tail) -> Result<(), HostError> {
        Err("no such device here".into())
    }
}

#[test]
fn a_host_without_room() -> Result<()> {
    let (source, destination) = migrate(Compression::Zstd, Compression::Zstd, false)?;
    told(&source)?;
    ensure!(
        destination.to_string() == "destination: no room for this guest",
        "{destination}"
    );
    Ok(())
}

#[test]
fn a_host_without_the_device() -> Result<()> {
    let (source, destination) = migrate(Compression::None, Compression::None, true)?;
    told(&source)?;
    ensure!(
        destination.to_string() == "destination: no such device here",
        "{destination}"
    );
    Ok(())
}

#[test]
fn another_method() -> Result<()> {
    // The channels break first, then the destination says why: whatever the source sees of that
    // first, it tells the destination's word.
    for _ in 0..20 {
        let (source, destination) = migrate(Compression::Zlib, Compression::Zstd, true)?;
        told(&source)?;
        let text = destination.to_string();
        ensure!(destination.fault() == Fault::Peer, "{text}");
        ensure!(text.contains("compressed with zlib, wanted zstd"), "{text}");
        ensure!(text.contains("block \"ram\""), "{text}");
    }
    Ok(())
}

/// The destination's machine takes connections, and nobody there does anything with them.
#[test]
fn a_destination_that_takes_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    let [socket, ram] = ["socket", "ram"].map(|name| folder.path().join(name));
    let _listener = UnixListener::bind(&socket)?;
    // Of zeros the main connection is full, of other pages the channels are.
    for (zero_pages, start) in [(ZeroPageDetection::Legacy, 0), (ZeroPageDetection::None, 1)] {
        let file = File::create(&ram)?;
        file.write_all_at(&vec![7; start << 20], 0)?;
        file.set_len(256 << 20)?;
        let parameters = Parameters {
            zero_page_detection: zero_pages,
            ..Parameters::default()
        };
        let mut config = SourceConfig::with_parameters(&parameters);
        config.limits.destination = Duration::from_millis(100);
        let memory = file_memory(&[("ram", &ram)])?;
        // With the system's buffers, which are soon full.
        let connect = || -> Result<_> {
            let stream = UnixStream::connect(&socket)?;
            Ok(Box::new(SocketTransport::new(stream)?) as _)
        };
        let connections = Connections::new(connect()?, vec![connect()?, connect()?])?;
        let source = Source::new(config, memory, host::open(&parameters)?, connections)?;
        let failure = source.run_stopped().err().context("it was taken")?;
        ensure!(failure.guest == GuestAfter::Here, "{failure:?}");
        let text = failure.error.to_string();
        ensure!(failure.error.fault() == Fault::Connection, "{text}");
        ensure!(text.contains("has read nothing for 0.1 s"), "{text}");
    }
    Ok(())
}

fn told(source: &Error) -> Result<()> {
    ensure!(source.fault() == Fault::Peer, "{source}");
    ensure!(
        source
            .to_string()
            .contains("could not take the guest (SHUT 1)"),
        "{source}"
    );
    Ok(())
}

/// Migrates and answers both sides' errors.
fn migrate(send: Compression, receive: Compression, has_memory: bool) -> Result<(Error, Error)> {
    let folder = TempDir::new()?;
    let socket = folder.path().join("socket");
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    fs::write(&ours, vec![7; 8 << 20])?;
    fs::write(&theirs, vec![0; 8 << 20])?;
    let memory = file_memory(&[("ram", &theirs)])?;
    let mut host = Unwilling {
        memory: has_memory.then_some(memory),
    };
    let parameters = |method| Parameters {
        multifd_compression: method,
        ..Parameters::default()
    };

    let listener = UnixListener::bind(&socket)?;
    let method = host::open(&parameters(receive))?;
    let destination = Destination::new(DestinationConfig::default(), method);
    let (sent, received) = thread::scope(|scope| -> Result<_> {
        let source = scope.spawn(|| -> Result<Result<Report, Error>> {
            let connections = connect(&socket, 2, true)?;
            let memory = file_memory(&[("ram", &ours)])?;
            let method = host::open(&parameters(send))?;
            let source = Source::new(SourceConfig::default(), memory, method, connections);
            Ok(source.and_then(|source| Ok(source.run_stopped()?)))
        });
        accept_all(&listener, &destination)?;
        let received = destination.run(&mut host);
        let sent = source
            .join()
            .map_err(|_| anyhow!("the source panicked"))??;
        Ok((sent, received))
    })?;
    let source = sent.err().context("the source took it for migrated")?;
    let destination = received.err().context("the destination took it")?;
    Ok((source, destination.error))
}
