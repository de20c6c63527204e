//! A source and a destination made by hand, and a relay between them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use migration::stream::ReturnMessage;
use migration::{HostError, Relay, RelayConfig, RelayHost, RelayReport};
use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::wire::Uuid;
use multifd_core::{ChannelCount, ChannelId, Error, Fault, Limits, Side};
use multifd_tests::by_hand::{Source, main_stream};
use multifd_tests::network::Watchdog;

use crate::rig::{FOREVER, method};

pub(crate) const OFFER: u32 = u32::from_be_bytes(*b"mfH?");
pub(crate) const ACCEPT: u32 = u32::from_be_bytes(*b"mfH!");
pub(crate) const GO: u32 = u32::from_be_bytes(*b"mfGo");

/// A source and a destination made by hand, and the relay between them.
pub(crate) struct Bench {
    pub(crate) source: Source,
    pub(crate) destination: Destination,
}

/// The ends of a relay's connections to it.
pub(crate) struct Destination {
    pub(crate) main: UnixStream,
    _channel: UnixStream,
}

/// Hands out the other ends.
struct Onward(Vec<UnixStream>);

impl RelayHost for Onward {
    fn connect(
        &mut self,
        _uuid: Uuid,
        _channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        let next = self.0.pop().ok_or("no more connections")?;
        Ok(Box::new(SocketTransport::new(next)?))
    }
}

impl Destination {
    /// Takes the main stream up to these bytes.
    pub(crate) fn take_until(&mut self, end: &[u8]) -> Result<()> {
        let mut taken = Vec::new();
        let mut byte = [0];
        while !taken.ends_with(end) {
            self.main.read_exact(&mut byte)?;
            taken.extend(byte);
        }
        Ok(())
    }

    pub(crate) fn say(&mut self, message: ReturnMessage) -> Result<()> {
        Ok(self.main.write_all(&message.encode())?)
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
    let usual = Limits::default();
    relay_with((limit, usual.work), play)
}

/// As [`relay`], with a limit for a destination that works as well.
pub(crate) fn relay_with(
    (limit, work): (Duration, Duration),
    play: impl FnOnce(&mut Bench) -> Result<()>,
) -> Result<Result<RelayReport, Error>> {
    let _watchdog = Watchdog::start();
    let mut config = RelayConfig::default();
    let one = ChannelCount::new(1).context("one channel")?;
    config.forwarder.channels = one;
    config.outgoing_channels = one;
    let limits = &mut config.forwarder.limits;
    limits.closing = FOREVER;
    (limits.devices, limits.confirm, limits.work) = (limit, limit / 2, work);
    let relay = Relay::new(config, method("none"), method("none"));
    let accept = || -> Result<UnixStream> {
        let (here, there) = UnixStream::pair()?;
        relay.accept(Box::new(SocketTransport::new(there)?))?;
        Ok(here)
    };
    let source = Source::new(accept()?, vec![accept()?])?;
    let (main, onward) = UnixStream::pair()?;
    let (channel, onward_channel) = UnixStream::pair()?;
    let mut bench = Bench {
        source,
        destination: Destination {
            main,
            _channel: channel,
        },
    };
    let mut host = Onward(vec![onward_channel, onward]);
    let (played, result) = thread::scope(|scope| {
        let running = scope.spawn(|| relay.run(&mut host));
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
