// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving end of a migration.

mod chunks;
mod config;
mod device_packets;
mod failure;
mod host;
mod load;
mod switchover_ack;
mod teller;

pub use config::DestinationConfig;
pub use failure::{DestinationFailure, GuestHere};
pub use host::DestinationHost;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use multifd_core::engine::Stall;
use multifd_core::transport::Transport;
use multifd_core::wire::{MAIN_MAGIC, Uuid};
use multifd_core::{
    AbortHandle, Error, Limits, Monitor, MultifdMethods, Place, RamBlock, Receiver, Side, Strangers,
};

use crate::handover;
use crate::report::Report;
use crate::stream::{Incoming, Reader, ReturnMessage, Tail};
use device_packets::{DevicePackets, Wait};
use load::Load;

/// Receives a guest: its memory, then its devices.
///
/// One thread of the host's [runs](Self::run) it; connections may be [accepted](Self::accept)
/// before or meanwhile, in any order.
#[derive(Debug)]
pub struct Destination {
    config: DestinationConfig,
    receiver: Receiver,
    device_packets: DevicePackets,
}

impl Destination {
    /// A destination that has no connection yet.
    pub fn new(config: DestinationConfig, method: Arc<dyn MultifdMethods>) -> Self {
        let device_packets = DevicePackets::default();
        let mut receiver = config.receiver.clone();
        receiver.device_state = receiver
            .device_state
            .map(|sink| device_packets.noting(sink));
        Self {
            receiver: Receiver::new(receiver, method),
            config,
            device_packets,
        }
    }

    /// Takes a new connection, main or multifd. See [`Receiver::accept`].
    ///
    /// Who may connect at all is the host's to say, before: it accepts a connection of its listener, looks at the
    /// peer's address, or at the peer's user behind a unix socket, and closes what it does not want. Such a
    /// connection takes none of the places for those that have not said what they are, and is not
    /// [counted](Self::strangers) here. An address is no proof of who somebody is: that is for a transport such as
    /// TLS, which is put around the connection here and shakes hands when it is first read.
    ///
    /// # Errors
    /// As there.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        self.receiver.accept(connection)
    }

    /// Whether all connections of the source are known.
    pub fn is_complete(&self) -> bool {
        self.receiver.is_complete()
    }

    /// Waits until a connection of a source is known. [`Self::run`] does so by itself; this is for who wants to know.
    /// See [`Receiver::wait_source`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_source(&self, wait: Option<Duration>) -> Result<Instant, Error> {
        self.receiver.wait_source(wait)
    }

    /// The VM's UUID: that of the configuration, or what the first channel has said. It is known when the
    /// devices come.
    pub fn uuid(&self) -> Option<Uuid> {
        self.receiver.uuid()
    }

    /// Connections that were closed because they were not the source's.
    pub fn strangers(&self) -> Strangers {
        self.receiver.strangers()
    }

    /// What aborts the migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.receiver.abort_handle()
    }

    /// What the channels have received so far, to be asked from another thread.
    pub fn monitor(&self) -> Monitor {
        self.receiver.monitor()
    }

    /// How many pages have arrived at least once, over the channels or named as zero.
    pub fn received_pages(&self) -> u64 {
        self.receiver.received_pages()
    }

    /// Says which pages have not arrived. See [`Receiver::for_each_missing`].
    ///
    /// # Errors
    /// As there.
    pub fn for_each_missing<E>(
        &self,
        act: impl FnMut(&RamBlock, Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.receiver.for_each_missing(act)
    }

    /// Migrates. Blocks until the host has everything, the source has given it up, and the host has
    /// [started](DestinationHost::start) it. With an answer of `Ok` the guest is this side's, and runs here or
    /// [stays paused](Report::run_state).
    ///
    /// # Errors
    /// Whatever failed first, and [what is here of the guest](DestinationFailure::guest); it must not run here.
    /// Unless all of it is here the source has been told, if it can be.
    pub fn run(&self, host: &mut dyn DestinationHost) -> Result<Report, DestinationFailure> {
        let (start, main) = self.meet_source().map_err(|error| {
            let error = self.fail(error);
            self.receiver.settle(None, self.limits().last_word);
            DestinationFailure::not_here(error)
        })?;
        self.receiver.abort_handle().watch(main.interrupter());
        let reader = Reader::new(main, &MAIN_MAGIC.to_be_bytes());
        let mut stream = Incoming::new(reader, self.config.receiver.page_size);
        stream.set_silence_limit(Some(self.limits().silence));
        let mut arrived = match self.take_in(&mut stream, &mut *host, start) {
            Ok(arrived) => arrived,
            Err(error) => {
                let error = self.fail(error);
                self.refuse(stream);
                return Err(DestinationFailure::not_here(error));
            }
        };
        match self.receiver.finish() {
            Ok(channels) => arrived.report.channels = channels,
            Err(error) => {
                let error = self.fail(error);
                // One that cannot be told so takes the guest for gone.
                let keeps_it = stream.has_return_path();
                self.refuse(stream);
                return Err(match keeps_it {
                    true => DestinationFailure::not_here(error),
                    false => DestinationFailure::not_released("this side has failed", &error),
                });
            }
        }
        // From here on all of the guest is here, and nothing that fails says that it is not.
        if stream.has_return_path() {
            confirm(&mut stream, arrived.hands_over, self.limits())?;
        }
        let started = host.start(arrived.report.run_state.unwrap_or_default());
        if arrived.hands_over {
            tell_started(&mut stream, started.is_ok());
        }
        started.map_err(DestinationFailure::not_started)?;
        Ok(Report {
            total_time: start.elapsed(),
            down_time: arrived.ram_end.elapsed(),
            main_bytes: stream.reader_mut().offset(),
            ..arrived.report
        })
    }

    /// Waits for the main connection; returns since when one of the source's is known.
    fn meet_source(&self) -> Result<(Instant, Box<dyn Transport>), Error> {
        let start = self.receiver.wait_source(self.config.wait)?;
        let main = self.receiver.wait_main(self.limits().main)?;
        Ok((start, main))
    }

    /// Takes in everything that the source sends.
    fn take_in(
        &self,
        stream: &mut Incoming,
        host: &mut dyn DestinationHost,
        start: Instant,
    ) -> Result<Arrived, Error> {
        let mut load = Load::new(&self.config, &self.receiver, host);
        while !load.step(stream)? {}
        let ram_end = Instant::now();
        let limit = Some(self.limits().devices);
        stream.reader_mut().set_time_limit(limit);
        let mut stall = Stall::new(self.limits().devices);
        stall.left(self.received());
        // While state comes over the channels the main one may be silent.
        let tail = stream.read_tail_beside(&mut || stall.left(self.received()).is_some())?;
        self.await_device_packets(&tail, load.hands_over, stream)?;
        load.complete(&tail)?;
        Ok(Arrived {
            report: Report {
                total_time: Duration::ZERO,
                setup_time: load.setup_end.saturating_duration_since(start),
                down_time: Duration::ZERO,
                down_time_items: None,
                run_state: tail.run_state(),
                ram_bytes: load.ram_bytes,
                main_bytes: 0,
                main_zero_pages: load.main_zero_pages,
                page_size: stream.page_size().bytes_u64(),
                channels: self.receiver.stats(),
            },
            ram_end,
            hands_over: load.hands_over,
        })
    }

    /// Waits until all state of the devices has come over the channels, too.
    fn await_device_packets(
        &self,
        tail: &Tail,
        hands_over: bool,
        stream: &Incoming,
    ) -> Result<(), Error> {
        let wait = Wait {
            abort: &self.receiver.abort_handle(),
            stall: Stall::new(self.limits().devices),
            received: &|| self.received(),
            is_gone: &|| stream.source_is_gone(),
        };
        self.device_packets.complete(tail, hands_over, wait)
    }

    /// How many bytes have come over the channels.
    fn received(&self) -> u64 {
        self.receiver.monitor().wire_bytes()
    }

    /// Tells the source that the guest stays there, if it still listens, and closes the connections once it has
    /// heard it. A source without a return path learns it from the end of its main connection.
    fn refuse(&self, mut stream: Incoming) {
        let mut is_told = false;
        if stream.has_return_path() {
            let transport = stream.reader_mut().transport_mut();
            transport.resume();
            transport.set_time_limit(Some(self.limits().last_word));
            is_told = stream
                .reply(ReturnMessage::Shut(1))
                .inspect_err(|error| log::debug!("the source cannot be told: {error}"))
                .is_ok();
        }
        let main = stream.into_reader().into_transport();
        self.receiver
            .settle(is_told.then_some(main), self.limits().last_word);
    }

    fn limits(&self) -> &Limits {
        &self.config.receiver.limits
    }

    /// Makes an error the migration's, unless it has one: then that one is answered.
    fn fail(&self, error: Error) -> Error {
        let abort = self.receiver.abort_handle();
        abort.fail(error.clone().at(Place::on(Side::Destination)));
        abort.error().unwrap_or(error)
    }
}

/// A guest of which everything is here.
struct Arrived {
    /// Without the figures that are known only at the end.
    report: Report,
    ram_end: Instant,
    hands_over: bool,
}

/// Tells the source that the guest is here and, if it hands it over, waits until it has given it up.
fn confirm(
    stream: &mut Incoming,
    hands_over: bool,
    limits: &Limits,
) -> Result<(), DestinationFailure> {
    // The main connection was interrupted with the channels.
    stream.reader_mut().transport_mut().resume();
    stream.reader_mut().set_time_limit(Some(limits.confirm));
    stream.reply(ReturnMessage::Shut(0)).map_err(|error| {
        DestinationFailure::not_released("the source could not be told", &error.into())
    })?;
    if hands_over {
        stream.wait_ping(handover::GO).map_err(|error| {
            let what = "the source did not say that it has given it up";
            DestinationFailure::not_released(what, &error.into())
        })?;
    }
    Ok(())
}

/// Tells a source that has given the guest up what became of it. The guest is this side's by now: a source that
/// cannot be told so is in doubt, and looks here.
fn tell_started(stream: &mut Incoming, is_started: bool) {
    let word = match is_started {
        true => ReturnMessage::Pong(handover::GO),
        false => ReturnMessage::Shut(1),
    };
    if let Err(error) = stream.reply(word) {
        log::warn!("the guest is here, but the source could not be told: {error}");
    }
}
