// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A source and a destination made by hand, and a relay between them.

use std::io;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use multifd_core::transport::{SocketTransport, Transport, recv_all, send_all};
use multifd_core::wire::Uuid;
use multifd_core::{ChannelCount, ChannelId, Error, Fault, Limits, Side};
use multifd_migration::stream::ReturnMessage;
use multifd_migration::{HostError, Relay, RelayConfig, RelayHandle, RelayHost, RelayReport};
use multifd_tests::by_hand::{Source, main_stream, packet};
use multifd_tests::network::{self, Link, Watchdog};

use crate::rig::{FOREVER, method};

pub(crate) const OFFER: u32 = u32::from_be_bytes(*b"mfH?");
pub(crate) const ACCEPT: u32 = u32::from_be_bytes(*b"mfH!");
pub(crate) const GO: u32 = u32::from_be_bytes(*b"mfGo");

/// A source and a destination made by hand, and the relay between them.
pub(crate) struct Bench {
    pub(crate) source: Source,
    pub(crate) destination: Destination,
    pub(crate) handle: RelayHandle,
}

/// The ends of a relay's connections to it.
pub(crate) struct Destination {
    pub(crate) main: Box<dyn Transport>,
    _channel: UnixStream,
}

/// How a relay is connected, and how long it waits.
pub(crate) struct Setting {
    /// For two sides that both are silent.
    pub(crate) limit: Duration,
    /// For a destination that works.
    pub(crate) work: Duration,
    /// What the relay has of the main connection to the source.
    pub(crate) incoming: Box<dyn FnOnce(SocketTransport) -> Box<dyn Transport>>,
    /// The main connection to the destination: the relay's end and the other one.
    pub(crate) onward: (Box<dyn Transport>, Box<dyn Transport>),
}

impl Setting {
    pub(crate) fn new() -> Result<Self> {
        let (here, there) = UnixStream::pair()?;
        Ok(Self {
            limit: FOREVER,
            work: Limits::default().work,
            incoming: Box::new(|connection| Box::new(connection)),
            onward: (
                Box::new(SocketTransport::new(here)?),
                Box::new(SocketTransport::new(there)?),
            ),
        })
    }
}

/// Hands out the other ends.
struct Onward(Vec<Box<dyn Transport>>);

impl RelayHost for Onward {
    fn connect(
        &mut self,
        _uuid: Uuid,
        _channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        Ok(self.0.pop().ok_or("no more connections")?)
    }
}

impl Destination {
    /// Takes the main stream up to these bytes.
    pub(crate) fn take_until(&mut self, end: &[u8]) -> Result<()> {
        let mut taken = Vec::new();
        let mut byte = [0];
        while !taken.ends_with(end) {
            let is_open = recv_all(&mut *self.main, &mut [byte.as_mut_slice().into()])?;
            ensure!(is_open, "the connection ended before {end:?}");
            taken.extend(byte);
        }
        Ok(())
    }

    /// Takes all that still comes, and answers how the connection ends.
    pub(crate) fn take_rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut taken = Vec::new();
        let mut byte = [0];
        loop {
            match recv_all(&mut *self.main, &mut [byte.as_mut_slice().into()]) {
                Ok(true) => taken.extend(byte),
                Ok(false) => return (taken, Ok(())),
                Err(error) => return (taken, Err(error)),
            }
        }
    }

    pub(crate) fn say(&mut self, message: ReturnMessage) -> Result<()> {
        let bytes = message.encode();
        Ok(send_all(&mut *self.main, &mut [bytes.as_slice().into()])?)
    }

    /// Closes the main connection.
    pub(crate) fn close(&mut self) {
        let (other, ..) = network::pair(Link::default(), Link::default());
        self.main = Box::new(other);
    }
}

impl Bench {
    /// A source has sent everything, and the destination has it. They hand over if the destination `accepts`.
    pub(crate) fn sent(&mut self, accepts: bool) -> Result<()> {
        self.source.begin(&main_stream::ping(OFFER))?;
        self.source.complete()?;
        self.destination.take_until(&main_stream::tail())?;
        let pong = if accepts { ACCEPT } else { OFFER };
        self.destination.say(ReturnMessage::Pong(pong))?;
        self.source.wait_for(ReturnMessage::Pong(pong))?;
        Ok(())
    }

    /// A source has sent its memory, and the destination has it.
    pub(crate) fn memory_sent(&mut self) -> Result<()> {
        self.source.begin(&[])?;
        self.source.say_on_all(&packet::sync())?;
        self.source.say(&main_stream::ram_end())?;
        self.destination.take_until(&main_stream::ram_end())
    }

    /// The destination says so.
    pub(crate) fn confirmed(&mut self) -> Result<()> {
        self.destination.say(ReturnMessage::Shut(0))?;
        self.source.wait_for(ReturnMessage::Shut(0))
    }
}

/// Runs a relay beside what `play` does, which keeps all connections until the relay has ended.
pub(crate) fn relay(
    limit: Duration,
    play: impl FnOnce(&mut Bench) -> Result<()>,
) -> Result<Result<RelayReport, Error>> {
    let setting = Setting {
        limit,
        ..Setting::new()?
    };
    relay_with(setting, play)
}

/// As [`relay`], in a setting.
pub(crate) fn relay_with(
    setting: Setting,
    play: impl FnOnce(&mut Bench) -> Result<()>,
) -> Result<Result<RelayReport, Error>> {
    let _watchdog = Watchdog::start();
    let mut config = RelayConfig::default();
    let one = ChannelCount::new(1).context("one channel")?;
    config.forwarder.channels = one;
    config.outgoing_channels = one;
    let limits = &mut config.forwarder.limits;
    limits.closing = FOREVER;
    (limits.devices, limits.confirm, limits.work) =
        (setting.limit, setting.limit / 2, setting.work);
    let relay = Relay::new(config, method("none"), method("none"));
    let (source_main, main) = UnixStream::pair()?;
    relay.accept((setting.incoming)(SocketTransport::new(main)?))?;
    let (source_channel, channel) = UnixStream::pair()?;
    relay.accept(Box::new(SocketTransport::new(channel)?))?;
    let source = Source::new(source_main, vec![source_channel])?;
    let (channel, onward_channel) = UnixStream::pair()?;
    let onward_channel: Box<dyn Transport> = Box::new(SocketTransport::new(onward_channel)?);
    let (onward, main) = setting.onward;
    let mut bench = Bench {
        handle: relay.handle(),
        source,
        destination: Destination {
            main,
            _channel: channel,
        },
    };
    let mut host = Onward(vec![onward_channel, onward]);
    let (played, result) = thread::scope(|scope| {
        let running = scope.spawn(|| relay.run(&mut host).map_err(Error::from));
        let played = play(&mut bench);
        (played, running.join())
    });
    played?;
    result.map_err(|_| anyhow::anyhow!("the relay panicked"))
}

pub(crate) fn failed(result: Result<RelayReport, Error>, side: Side, words: &str) -> Result<()> {
    let error = result.err().context("it has failed")?;
    ensure!(error.fault() == Fault::Connection, "{error}");
    ensure!(error.place().side == Some(side), "{error}");
    ensure!(error.to_string().contains(words), "{error}");
    Ok(())
}
