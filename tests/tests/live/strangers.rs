// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Others knock at a destination while a guest comes.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;

use anyhow::{Result, ensure};
use multifd_core::transport::{SocketTransport, Transport, send_all};
use multifd_core::wire::{InitPacket, Uuid};
use multifd_core::{ChannelCount, PageSize};
use multifd_migration::source::Status;
use multifd_migration::{Connections, Destination, DestinationConfig, Source, SourceConfig};
use multifd_tests::host::FileHost;
use multifd_tests::live::{self, Guest, Rate};
use multifd_tests::network::Watchdog;

use super::method;

const PAGES: u64 = 2048;
const CHANNELS: u8 = 4;
const STRANGERS: usize = 1000;
/// Of these, how many say too little and stay.
const SILENT: usize = 100;
/// The others, and those who come when all of the source's connections are there.
const CLOSED: u64 = (STRANGERS - SILENT + 3) as u64;

/// A connection to a destination on which `bytes` have been sent; the sending end.
fn knock(destination: &Destination, bytes: &[u8]) -> Result<UnixStream> {
    let (here, there) = UnixStream::pair()?;
    let mut said = SocketTransport::new(here.try_clone()?)?;
    send_all(&mut said, &mut [bytes.into()])?;
    destination.accept(Box::new(SocketTransport::new(there)?))?;
    Ok(here)
}

fn init(channel: u8) -> Vec<u8> {
    let uuid = Uuid::default();
    InitPacket { uuid, channel }.encode().to_vec()
}

/// What a stranger says that does not stay.
fn said(number: usize) -> Vec<u8> {
    let half = init(0).into_iter().take(40).collect();
    let mut version = init(1);
    if let Some(low) = version.get_mut(7) {
        *low = 9;
    }
    let all: [Vec<u8>; 6] = [
        Vec::new(),
        b"GET /healthz HTTP/1.0\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        half,
        version,
        b"SSH-2.0-OpenSSH".to_vec(),
    ];
    let kind = number % all.len();
    all.into_iter().nth(kind).unwrap_or_default()
}

#[test]
fn a_guest_comes_through_a_crowd() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut guest = Guest::start(PAGES, Rate::Pages(4_000))?;
    let copy = live::memory(PAGES)?;
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(CHANNELS).unwrap_or_default();
    let none = method("none")?;
    let destination = &Destination::new(config, Arc::clone(&none));
    let silent: Vec<_> = (0..SILENT)
        .map(|number| knock(destination, b"QEV".get(..number % 4).unwrap_or_default()))
        .collect::<Result<_>>()?;
    let mut host = FileHost::new(copy.clone());
    let (sent, received) = thread::scope(|scope| {
        let received = scope.spawn(|| destination.run(&mut host));
        let crowd = scope.spawn(|| {
            (SILENT..STRANGERS).try_for_each(|number| {
                // Not so many at once that there is no room for the source.
                while destination.strangers().count + 100 < (number - SILENT) as u64 {
                    thread::yield_now();
                }
                knock(destination, &said(number)).map(drop)
            })
        });
        let connect = |number: u8| -> Result<Box<dyn Transport>> {
            // In the midst of the others.
            let others = usize::from(number) * 100;
            while destination.strangers().count < others as u64 {
                thread::yield_now();
            }
            let (here, there) = UnixStream::pair()?;
            destination.accept(Box::new(SocketTransport::new(there)?))?;
            Ok(Box::new(SocketTransport::new(here)?))
        };
        let main = connect(0)?;
        let channels = (1..=CHANNELS).map(connect).collect::<Result<_>>()?;
        let connections = Connections::new(main, channels)?;
        let mut config = SourceConfig::default();
        config.pause_before_switchover = true;
        let source = Source::new(config, guest.memory(), none, connections)?;
        let handle = source.handle();
        let late = scope.spawn(move || {
            // Whoever comes now claims to be what is there already.
            while !destination.is_complete() {
                thread::yield_now();
            }
            ensure!(
                matches!(crowd.join(), Ok(Ok(()))),
                "the crowd was not let in"
            );
            for bytes in [init(0), init(CHANNELS - 1), b"QEVM".to_vec()] {
                drop(knock(destination, &bytes)?);
            }
            while destination.strangers().count < CLOSED {
                thread::yield_now();
            }
            while handle.status() != Status::PreSwitchover {
                thread::yield_now();
            }
            handle.proceed();
            Ok(())
        });
        let sent = source.run(&mut guest);
        ensure!(
            matches!(late.join(), Ok(Ok(()))),
            "those who came late were not let in"
        );
        let received = received.join();
        Ok((sent, received))
    })?;
    sent?;
    let Ok(received) = received else {
        anyhow::bail!("the destination panicked");
    };
    ensure!(received?.page_size == PageSize::X86.bytes_u64());
    guest.check_copy(&copy)?;
    let strangers = destination.strangers();
    ensure!(strangers.count == CLOSED, "{strangers:?}");
    drop(silent);
    Ok(())
}
