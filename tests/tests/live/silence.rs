// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sources that fall silent, or go away, at a destination that waits for them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multifd_core::transport::{Transport, send_all};
use multifd_core::wire::{BlockName, InitPacket, RamHeaderBuffer, Uuid};
use multifd_core::{ChannelCount, Fault, GuestMemory, PageSize};
use multifd_migration::stream::{
    AnnouncedBlock, Command, Configuration, EarlyPart, Outgoing, RamSection, SyncMode, Tail, Writer,
};
use multifd_migration::{
    Connections, Destination, DestinationConfig, DestinationHost, GuestHere, HostError, Source,
    SourceConfig,
};
use multifd_tests::by_hand::main_stream;
use multifd_tests::host::FileHost;
use multifd_tests::live::{self, Guest, Pair, Rate};
use multifd_tests::network::{self, Endpoint, Link, Watchdog};

use super::method;

const PAGES: u64 = 16;
const SHORT: Duration = Duration::from_millis(50);

/// A destination of two channels, and the source's ends of the main connection and of the first channel.
struct Bench {
    destination: Destination,
    main: Endpoint,
    channel: Endpoint,
}

impl Bench {
    fn new(config: DestinationConfig) -> Result<Self> {
        let mut config = config;
        config.receiver.channels = ChannelCount::new(2).context("two channels")?;
        let destination = Destination::new(config, method("none")?);
        let connect = || -> Result<Endpoint> {
            let link = Link::default().capacity(1 << 20);
            let (here, there, _) = network::pair(link, Link::default());
            destination.accept(Box::new(there))?;
            Ok(here)
        };
        let (main, mut channel) = (connect()?, connect()?);
        let uuid = Uuid::default();
        let mut header = RamHeaderBuffer::new(PageSize::X86);
        header.set_sync(0);
        let init = InitPacket { uuid, channel: 0 }.encode();
        for bytes in [&init[..], header.as_bytes()] {
            send_all(&mut channel, &mut [bytes.into()])?;
        }
        Ok(Self {
            destination,
            main,
            channel,
        })
    }

    /// What the destination says in the end; it has nothing of the guest.
    fn error(&self) -> Result<String> {
        let mut host = Dropping(FileHost::new(live::memory(PAGES)?));
        let failure = self.destination.run(&mut host);
        let failure = failure.err().context("there is no guest")?;
        ensure!(failure.guest == GuestHere::NotHere);
        ensure!(failure.error.fault() == Fault::Connection, "{failure}");
        Ok(failure.to_string())
    }
}

/// A host that takes state beside memory, and drops it.
struct Dropping(FileHost);

impl DestinationHost for Dropping {
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        self.0.memory(configuration, blocks)
    }

    fn early_section(&mut self, _part: EarlyPart<'_>) -> Result<(), HostError> {
        Ok(())
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        self.0.complete(devices)
    }
}

/// The main stream up to the first barrier and behind it.
fn stream(return_path: bool) -> Result<Vec<u8>> {
    let link = Link::default().capacity(1 << 16).recorded();
    let (here, _there, taps) = network::pair(link, Link::default());
    let mut main = Outgoing::new(
        Writer::new(Box::new(here)),
        PageSize::X86,
        SyncMode::PerRound,
    );
    main.configuration(&Configuration {
        machine: "none".into(),
        ..Configuration::default()
    })?;
    if return_path {
        main.command(Command::OpenReturnPath)?;
    }
    let block = AnnouncedBlock {
        name: BlockName::new("ram").context("a name")?,
        used_length: PAGES * 4096,
    };
    let mut section: RamSection<'_> = main.ram_start(vec![block])?;
    section.sync()?;
    section.finish()?;
    main.flush()?;
    Ok(taps.forth.bytes())
}

/// It need not wait for the channels that will never come.
#[test]
fn a_source_that_is_gone_while_channels_are_missing() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut config = DestinationConfig::default();
    config.receiver.limits.sync = Duration::MAX;
    let mut bench = Bench::new(config)?;
    send_all(&mut bench.main, &mut [stream(true)?.as_slice().into()])?;
    let (gone, there) = network_pair();
    drop(std::mem::replace(&mut bench.main, gone));
    let text = bench.error()?;
    ensure!(
        text.contains("the source closed the main connection before SYNC came from channel 1"),
        "{text}"
    );
    ensure!(
        text.contains("only 1 of 2 channels are connected"),
        "{text}"
    );
    drop(there);
    Ok(())
}

fn network_pair() -> (Endpoint, Endpoint) {
    let (here, there, _) = network::pair(Link::default(), Link::default());
    (here, there)
}

/// Wherever it stops inside of something that it has begun.
#[test]
fn a_source_that_falls_silent_in_the_main_stream() -> Result<()> {
    let _watchdog = Watchdog::start();
    let stream = stream(false)?;
    // Of a configuration, of a section's head, and of the list of blocks.
    for len in [6, 14, 30, 40] {
        let mut config = DestinationConfig::default();
        config.receiver.limits.silence = SHORT;
        let mut bench = Bench::new(config)?;
        let part = stream.get(..len).context("a longer stream")?;
        send_all(&mut bench.main, &mut [part.into()])?;
        let text = bench.error()?;
        ensure!(
            text.contains("the peer was silent for 0.05 s"),
            "{len}: {text}"
        );
    }
    Ok(())
}

/// What looks like a section's end may be data, where nothing says how long the section is.
#[test]
fn a_source_that_falls_silent_where_a_section_may_have_ended() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut config = DestinationConfig::default();
    config.receiver.limits.silence = SHORT;
    let mut bench = Bench::new(config)?;
    let section = main_stream::section(main_stream::FULL, 2, &main_stream::device(b"timer", 2));
    let bytes = [main_stream::head(), section].concat();
    send_all(&mut bench.main, &mut [bytes.as_slice().into()])?;
    let text = bench.error()?;
    ensure!(text.contains("the peer was silent for 0.05 s"), "{text}");
    Ok(())
}

#[test]
fn a_source_that_falls_silent_in_a_packet() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut config = DestinationConfig::default();
    config.receiver.limits.silence = SHORT;
    let mut bench = Bench::new(config)?;
    send_all(&mut bench.main, &mut [stream(false)?.as_slice().into()])?;
    let uuid = Uuid::default();
    let (mut second, there) = network_pair();
    bench.destination.accept(Box::new(there))?;
    let mut header = RamHeaderBuffer::new(PageSize::X86);
    header.set_sync(0);
    let init = InitPacket { uuid, channel: 1 }.encode();
    for bytes in [&init[..], header.as_bytes(), &header.as_bytes()[..100]] {
        send_all(&mut second, &mut [bytes.into()])?;
    }
    let text = bench.error()?;
    ensure!(
        text == "destination, channel 1, packet 1: the peer was silent for 0.05 s in the middle of a packet",
        "{text}"
    );
    // The source finds the connection closed.
    let mut room = [0];
    ensure!(!matches!(
        bench.channel.recv(&mut [room.as_mut_slice().into()]),
        Ok(1..)
    ));
    Ok(())
}

/// A guest that waits for its manager before it is switched over has nothing to send for as long as that takes.
#[test]
fn between_two_sections_a_source_may_be_silent() -> Result<()> {
    let _watchdog = Watchdog::start();
    let mut guest = Guest::start(256, Rate::Never)?;
    let mut config = SourceConfig::default();
    config.pause_before_switchover = true;
    let pair = Pair {
        config,
        method: method("none")?,
        channels: 2,
        return_path: true,
        ends_destination_late: false,
        on_start: None,
    };
    let mut config = DestinationConfig::default();
    config.receiver.limits.silence = SHORT;
    config.receiver.limits.devices = SHORT;
    let outcome = pair.migrate_to(config, &mut guest, |controls| {
        while controls.source.status() != multifd_migration::source::Status::PreSwitchover {
            std::thread::yield_now();
        }
        std::thread::sleep(5 * SHORT);
        controls.source.proceed();
    })?;
    outcome.source?;
    outcome.destination?;
    guest.check_copy(&outcome.copy)
}

/// A host that makes its memory slowly.
struct Slow(FileHost, Duration);

impl DestinationHost for Slow {
    fn memory(
        &mut self,
        configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        std::thread::sleep(self.1);
        self.0.memory(configuration, blocks)
    }

    fn complete(&mut self, devices: &Tail) -> Result<(), HostError> {
        self.0.complete(devices)
    }
}

/// Migrates a guest that does not fit into the connections to a host that takes `slow` to make its memory, from a source
/// whose destination may take nothing for `limit`.
fn to_a_slow_host(
    slow: Duration,
    limit: Duration,
    memory_limit: Duration,
) -> Result<Result<(), String>> {
    let mut guest = Guest::start(2048, Rate::Never)?;
    let copy = live::memory(2048)?;
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(2).context("two channels")?;
    let none = method("none")?;
    let destination = Destination::new(config, Arc::clone(&none));
    let connect = || -> Result<Box<dyn Transport>> {
        let (here, there) = network_pair();
        destination.accept(Box::new(there))?;
        Ok(Box::new(here))
    };
    let connections = Connections::new(connect()?, vec![connect()?, connect()?])?;
    let mut config = SourceConfig::default();
    config.limits.destination = limit;
    config.limits.memory = memory_limit;
    config.limits.last_word = Duration::from_millis(1);
    let source = Source::new(config, guest.memory(), none, connections)?;
    let mut host = Slow(FileHost::new(copy.clone()), slow);
    let (sent, received) = std::thread::scope(|scope| {
        let received = scope.spawn(|| destination.run(&mut host));
        (source.run(&mut guest), received.join())
    });
    if let Err(failure) = sent {
        return Ok(Err(format!("{failure}; at the destination: {received:?}")));
    }
    guest.check_copy(&copy).map(Ok)
}

#[test]
fn a_destination_may_make_its_memory_slowly() -> Result<()> {
    let _watchdog = Watchdog::start();
    // What a busy machine needs to run a thread again is far below a second.
    let second = Duration::from_secs(1);
    let result = to_a_slow_host(2 * second, second, 60 * second)?;
    ensure!(result.is_ok(), "{result:?}");
    // But not for ever.
    let result = to_a_slow_host(10 * SHORT, SHORT, 2 * SHORT)?;
    let text = result.err().context("it may not take so long")?;
    ensure!(
        text.contains("the destination has read nothing for 0.05 s"),
        "{text}"
    );
    Ok(())
}
