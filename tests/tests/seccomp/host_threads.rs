// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The host's own threads, confined to what is documented of the calls that they make.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use multifd_core::method::Accelerator;
use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::{ChannelCount, Spawn, StdThreads};
use multifd_migration::{Connections, Destination, DestinationConfig, Source, SourceConfig};
use multifd_tests::host::FileHost;
use multifd_tests::live::{Guest, Outcome, Rate, memory};

use super::confined::{AtEnd, Confined, confine};
use super::lists::START;
use super::{arrived, method};

#[test]
fn threads_of_a_pool() -> Result<()> {
    migrates(Arc::new(Confined::new(AtEnd::Stay)?), &[])
}

/// Those that it starts have the filter, too.
#[test]
fn threads_of_the_standard_library() -> Result<()> {
    // What belongs to nobody in particular is settled before.
    drop(Confined::new(AtEnd::Stay)?);
    let kinds = ["`Send`", "`Receive`", "`ReturnPath`", "`Work`"];
    migrates(Arc::new(StdThreads), &[&kinds, START].concat())
}

#[test]
fn sockets_are_made_with_what_is_documented() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let connect = || Ok::<_, anyhow::Error>(TcpStream::connect(listener.local_addr()?)?);
    let (tcp, unknown, kept) = (connect()?, connect()?, connect()?);
    let (unix, _there) = UnixStream::pair()?;
    let new = |socket: &str| format!("`SocketTransport::new` with {socket}");
    on_confined(&[&new("a `UnixStream`")], || {
        Ok(SocketTransport::new(unix)?)
    })?;
    on_confined(&[&new("a `TcpStream`")], || Ok(SocketTransport::new(tcp)?))?;
    let unknown = OwnedFd::from(unknown);
    on_confined(&[&new("an `OwnedFd`")], || {
        Ok(SocketTransport::new(unknown)?)
    })?;
    let limit = Duration::from_secs(60);
    on_confined(&["`SocketTransport::tcp`"], || {
        Ok(SocketTransport::tcp(kept, limit)?)
    })?;
    let (main, _there) = UnixStream::pair()?;
    let main = SocketTransport::new(main)?;
    on_confined(&["`Transport::duplicate`"], || Ok(main.duplicate()?))?;
    Ok(())
}

/// Does something on a thread that may do no more than is documented.
fn on_confined<T: Send>(rows: &[&str], act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            confine(rows)?;
            act()
        });
        thread.join().ok().context("a panic")?
    })
}

/// A migration all threads of which are confined: those of the host to the calls that they make, and `starts`.
fn migrates(threads: Arc<dyn Spawn>, starts: &[&str]) -> Result<()> {
    let mut guest = Guest::start(4096, Rate::Pages(500))?;
    let copy = memory(4096)?;
    let mut host = FileHost::new(copy.clone());
    let none = method("none", Accelerator::Auto)?;
    let streams = [
        UnixStream::pair()?,
        UnixStream::pair()?,
        UnixStream::pair()?,
    ];
    let (ours, theirs): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(2).context("channels")?;
    config.receiver.threads = Arc::clone(&threads);
    let to = Arc::clone(&none);
    let new = "`SocketTransport::new` with a `UnixStream`";
    let accept = [new, "`Destination::new`, `Destination::accept`"];
    let destination = on_confined(&[&accept, starts].concat(), || {
        let destination = Destination::new(config, to);
        for stream in theirs {
            destination.accept(Box::new(SocketTransport::new(stream)?))?;
        }
        Ok(destination)
    })?;
    let from = guest.memory();
    let mut config = SourceConfig::default();
    config.threads = threads;
    let make = [new, "`Transport::duplicate`", "`Source::new`"];
    let source = on_confined(&[&make, starts].concat(), || {
        let transport =
            |stream| -> Result<Box<dyn Transport>> { Ok(Box::new(SocketTransport::new(stream)?)) };
        let ends = ours.into_iter().map(transport);
        let mut channels = ends.collect::<Result<Vec<_>>>()?;
        let main = channels.remove(0);
        let connections = Connections::new(main, channels)?;
        Ok(Source::new(config, from, none, connections)?)
    })?;
    let untouched = "`Source::run`, `Destination::run`, of memory with an `Untouched`, also";
    let rows = [&["`Destination::run`", untouched], starts].concat();
    let (sent, received) = thread::scope(|scope| {
        let received = scope.spawn(|| on_confined(&rows, || Ok(destination.run(&mut host))));
        let sent = on_confined(&["`Source::run`", untouched], || Ok(source.run(&mut guest)));
        (sent, received.join())
    });
    let outcome = Outcome {
        source: sent?,
        destination: received.ok().context("a panic")??,
        copy,
        devices: None,
    };
    arrived(&guest, &outcome)
}
