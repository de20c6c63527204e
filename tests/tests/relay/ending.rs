//! The last messages of a migration, from two sides that keep their connections.

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

const OFFER: u32 = u32::from_be_bytes(*b"mfH?");
const ACCEPT: u32 = u32::from_be_bytes(*b"mfH!");
const GO: u32 = u32::from_be_bytes(*b"mfGo");

/// A source and a destination made by hand, and the relay between them.
struct Bench {
    source: Source,
    destination: Destination,
}

/// The ends of a relay's connections to it.
struct Destination {
    main: UnixStream,
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
    fn take_until(&mut self, end: &[u8]) -> Result<()> {
        let mut taken = Vec::new();
        let mut byte = [0];
        while !taken.ends_with(end) {
            self.main.read_exact(&mut byte)?;
            taken.extend(byte);
        }
        Ok(())
    }

    fn say(&mut self, message: ReturnMessage) -> Result<()> {
        Ok(self.main.write_all(&message.encode())?)
    }
}

impl Bench {
    /// A source has sent everything, and the destination has it. They hand over if the destination `accepts`.
    fn sent(&mut self, accepts: bool) -> Result<()> {
        self.source.begin(&main_stream::ping(OFFER))?;
        self.source.complete()?;
        self.destination.take_until(&main_stream::tail())?;
        let pong = if accepts { ACCEPT } else { OFFER };
        self.destination.say(ReturnMessage::Pong(pong))?;
        self.source.wait_for(ReturnMessage::Pong(pong))?;
        Ok(())
    }

    /// The destination says so.
    fn confirmed(&mut self) -> Result<()> {
        self.destination.say(ReturnMessage::Shut(0))?;
        self.source.wait_for(ReturnMessage::Shut(0))
    }
}

/// Runs a relay beside what `play` does, which keeps all connections until the relay has ended.
fn relay(
    limit: Duration,
    play: impl FnOnce(&mut Bench) -> Result<()>,
) -> Result<Result<RelayReport, Error>> {
    let usual = Limits::default();
    relay_with((limit, usual.work), play)
}

/// As [`relay`], with a limit for a destination that works as well.
fn relay_with(
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

fn failed(result: Result<RelayReport, Error>, side: Side, words: &str) -> Result<()> {
    let error = result.err().context("it has failed")?;
    ensure!(error.fault() == Fault::Connection, "{error}");
    ensure!(error.place().side == Some(side), "{error}");
    ensure!(error.to_string().contains(words), "{error}");
    Ok(())
}

#[test]
fn it_ends_behind_the_last_message() -> Result<()> {
    let report = relay(FOREVER, |bench| {
        bench.sent(false)?;
        bench.confirmed()
    })??;
    ensure!(report.confirmed);
    let report = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        // In pieces.
        let go = main_stream::ping(GO);
        let (first, second) = go.split_at(4);
        bench.source.say(first)?;
        bench.destination.take_until(first)?;
        bench.source.say(second)?;
        bench.destination.take_until(second)?;
        bench.destination.say(ReturnMessage::Pong(GO))?;
        bench.source.wait_for(ReturnMessage::Pong(GO))
    })??;
    ensure!(report.confirmed);
    Ok(())
}

#[test]
fn a_source_that_goes_before_it_gives_the_guest_up() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        Ok(bench.source.main.shutdown(std::net::Shutdown::Both)?)
    })?;
    failed(
        result,
        Side::RelayIn,
        "closed the main connection before it has given the guest up",
    )
}

#[test]
fn a_destination_that_goes_before_the_source_gives_the_guest_up() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        Ok(bench.destination.main.shutdown(std::net::Shutdown::Both)?)
    })?;
    failed(
        result,
        Side::RelayOut,
        "before the source has given the guest up",
    )
}

/// It is told what to do, and nobody hears that it does so.
#[test]
fn a_source_that_goes_when_it_has_given_the_guest_up() -> Result<()> {
    let result = relay(FOREVER, |bench| {
        bench.sent(true)?;
        bench.confirmed()?;
        let go = main_stream::ping(GO);
        bench.source.say(&go)?;
        bench.destination.take_until(&go)?;
        Ok(bench.source.main.shutdown(std::net::Shutdown::Both)?)
    })?;
    // The destination says nothing, either.
    ensure!(!result?.confirmed);
    Ok(())
}

/// Where the source's last byte is, a relay does not know.
#[test]
fn two_sides_that_wait_for_each_other() -> Result<()> {
    let short = Duration::from_millis(50);
    let result = relay(short, |bench| {
        let mut tail = main_stream::tail();
        tail.truncate(3);
        bench.source.begin(&main_stream::ping(OFFER))?;
        bench
            .source
            .say_on_all(&multifd_tests::by_hand::packet::sync())?;
        bench.source.say(&[main_stream::ram_end(), tail].concat())
    })?;
    failed(
        result,
        Side::RelayIn,
        "behind the end of memory the source has sent nothing, nor has the destination said that it has \
         everything, for 0.05 s",
    )?;
    // Long enough for a busy machine to come so far.
    let result = relay(Duration::from_secs(3), |bench| {
        bench.sent(true)?;
        bench.confirmed()
    })?;
    failed(
        result,
        Side::RelayIn,
        "the destination has everything, but the source has not given the guest up for 3 s",
    )
}

/// What a destination of this project says once a second while its host writes.
const WRITING: ReturnMessage = ReturnMessage::Pong(u32::from_be_bytes(*b"mfWd"));

#[test]
fn a_destination_that_works_and_falls_silent() -> Result<()> {
    let result = relay(Duration::from_secs(2), |bench| {
        bench.sent(true)?;
        bench.destination.say(WRITING)?;
        bench.source.wait_for(WRITING)
    })?;
    failed(
        result,
        Side::RelayOut,
        "the destination was writing to disk when it last spoke, and has said nothing for 2 s",
    )
}

#[test]
fn a_destination_that_works_for_ever() -> Result<()> {
    let limits = (Duration::from_secs(2), Duration::from_secs(1));
    let result = relay_with(limits, |bench| {
        bench.sent(true)?;
        // Until the relay has given it up.
        while bench.destination.say(WRITING).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })?;
    failed(
        result,
        Side::RelayOut,
        "the destination has been writing to disk for more than 1 s, and has said nothing else for 2 s",
    )
}
