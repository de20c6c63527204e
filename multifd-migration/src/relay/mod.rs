// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Between the source and the destination of a migration.

mod config;
mod failure;
mod handle;
mod host;
mod info;
mod last_words;
mod link;
mod main_stream;
mod phase;
mod report;
mod return_path;
mod samples;
mod side;
mod working;

pub use config::RelayConfig;
pub use failure::RelayFailure;
pub use handle::RelayHandle;
pub use host::RelayHost;
pub use info::{RelayChannelInfo, RelayInfo, RelayRamInfo, RelaySideInfo};
pub use phase::{Phase, WaitsFor};
pub use report::RelayReport;

use std::sync::Arc;
use std::time::{Duration, Instant};

use multifd_core::engine::Forwarding;
use multifd_core::transport::{Transport, send_all};
use multifd_core::wire::{MAIN_MAGIC, Uuid};
use multifd_core::{
    AbortHandle, Error, Fault, Forwarder, Limits, Monitor, MultifdMethods, Place, Strangers,
};

use crate::stream::{Event, Incoming, Reader, ReturnMessage, Writer};
use handle::Passing;
use link::Link;
use main_stream::{MainStream, Passed};
use return_path::{Ended, ReturnPath, Ways, Work};
use side::{from_source, is_destination_gone, to_destination};

/// Passes a migration on while it runs: method, level, number of channels, transport and bandwidth
/// are those of each side, all else is as if the two sides were connected directly.
///
/// It keeps no guest memory, only packets: see [`Forwarder`]. The main stream and the return path are
/// passed on byte for byte, so that errors, cancel and completion reach the other side.
///
/// One thread of the host's [runs](Self::run) it; the source's connections may be
/// [accepted](Self::accept) before or meanwhile, in any order.
#[derive(Debug)]
pub struct Relay {
    config: RelayConfig,
    forwarder: Forwarder,
    outgoing: Method,
    handle: RelayHandle,
}

struct Method(Arc<dyn MultifdMethods>);

impl Relay {
    /// A relay that has no connection yet, with the method of the source and that of the destination.
    pub fn new(
        config: RelayConfig,
        incoming: Arc<dyn MultifdMethods>,
        outgoing: Arc<dyn MultifdMethods>,
    ) -> Self {
        let forwarder = Forwarder::new(config.forwarder.clone(), incoming);
        Self {
            handle: RelayHandle::new(&forwarder),
            forwarder,
            config,
            outgoing: Method(outgoing),
        }
    }

    /// Takes a new connection of the source, main or multifd. See
    /// [`Receiver::accept`](multifd_core::Receiver::accept).
    ///
    /// # Errors
    /// As there.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        self.forwarder.accept(connection)
    }

    /// Whether all connections of the source are known.
    pub fn is_complete(&self) -> bool {
        self.forwarder.is_complete()
    }

    /// Connections that were closed because they were not the source's.
    pub fn strangers(&self) -> Strangers {
        self.forwarder.strangers()
    }

    /// What aborts the migration from another thread. The source is told, and its guest runs on.
    pub fn abort_handle(&self) -> AbortHandle {
        self.forwarder.abort_handle()
    }

    /// What watches and steers the migration from other threads.
    pub fn handle(&self) -> RelayHandle {
        self.handle.clone()
    }

    /// What the channels have received so far, to be asked from another thread.
    pub fn monitor(&self) -> Monitor {
        self.forwarder.incoming()
    }

    /// Passes the migration on. Blocks until source and destination are done with each other.
    ///
    /// # Errors
    /// Whatever failed first. The source has been told, if it can be, and the destination has lost its connections:
    /// unless the source has given the guest up by then, it runs on there.
    pub fn run(&self, host: &mut dyn RelayHost) -> Result<RelayReport, RelayFailure> {
        let ready = self.set_up(host).map_err(|error| self.fail(error));
        let result = ready.and_then(|ready| self.pass_on(ready, host));
        self.handle.end(result.as_ref().err());
        result.map_err(|error| {
            self.fail(error.clone());
            // Does nothing if that has been done.
            self.forwarder.settle(None, self.limits().last_word);
            RelayFailure { error }
        })
    }

    /// Meets both sides.
    fn set_up(&self, host: &mut dyn RelayHost) -> Result<Ready<'_>, Error> {
        self.forwarder.wait_source(self.config.wait)?;
        let main = self.forwarder.wait_main(self.limits().main)?;
        let link = Arc::new(Link::new());
        self.handle.begin(link.start());
        let abort = self.forwarder.abort_handle();
        abort.watch(main.interrupter());
        let to_source = duplicate(&*main).map_err(from_source)?;
        let main_interrupter = main.interrupter();
        let (incoming, head) = self.read_head(main)?;
        self.handle.set_connecting(true);
        let onward = self.connect(host)?;
        let forwarding = self
            .forwarder
            .start(onward.uuid, &self.outgoing.0, onward.channels)?;
        self.handle.set_connecting(false);
        self.handle.set_passing(Passing {
            outgoing: forwarding.outgoing(),
            backlog: forwarding.backlog(),
            link: Arc::clone(&link),
        });
        let ways = Ways {
            from_destination: onward.back,
            to_source,
            main_stream: main_interrupter,
            abort,
        };
        let work = Work {
            backlog: forwarding.backlog(),
            outgoing: forwarding.outgoing(),
            limits: self.limits().clone(),
            handle: self.handle.clone(),
        };
        let threads = &self.config.forwarder.threads;
        Ok(Ready {
            back: ReturnPath::start(ways, Arc::clone(&link), work, threads)?,
            source: incoming,
            head,
            destination: onward.main,
            forwarding,
            link,
        })
    }

    /// Passes on until both sides are done, or one has failed.
    fn pass_on(&self, ready: Ready<'_>, host: &mut dyn RelayHost) -> Result<RelayReport, Error> {
        let Ready {
            source,
            head,
            destination,
            mut forwarding,
            back,
            link,
        } = ready;
        let mut stream = MainStream::new(
            (source, destination),
            &mut forwarding,
            host,
            (&link, &self.handle),
        );
        let result = stream.run(head, self.limits().closing);
        let result = result.map_err(|error| self.fail(error));
        let (incoming, passed) = stream.close();
        let ended = back.end(self.patience(&result, &link));
        let result = Self::outcome(result, ended.as_ref(), &link);
        if let (Err(error), Some(ended)) = (&result, ended) {
            self.fail(error.clone());
            let main = incoming.into_reader().into_transport();
            let is_told = refuse(ended.to_source, &link, self.limits().last_word);
            self.forwarder
                .settle(is_told.then_some(main), self.limits().last_word);
        }
        result.and_then(|()| self.report(passed, forwarding, &link))
    }

    /// Reads what machine this is: how large the guest's pages are has to be known before there is room for any.
    fn read_head(&self, main: Box<dyn Transport>) -> Result<(Incoming, Event), Error> {
        let reader = Reader::new(main, &MAIN_MAGIC.to_be_bytes());
        let mut incoming = Incoming::new(reader, self.config.forwarder.page_size);
        incoming.set_silence_limit(Some(self.limits().silence));
        let magic_len = MAIN_MAGIC.to_be_bytes().len() as u64;
        incoming.reader_mut().keep_copy(magic_len);
        let head = incoming
            .next_event()
            .map_err(|error| from_source(error.into()))?;
        self.forwarder.set_page_size(incoming.page_size())?;
        Ok((incoming, head))
    }

    /// Makes the connections to the destination.
    fn connect(&self, host: &mut dyn RelayHost) -> Result<Onward, Error> {
        let uuid = self.forwarder.wait_uuid(self.limits().main)?;
        let mut connect = |channel| {
            let connection = host.connect(uuid, channel);
            connection.map_err(|error| to_destination(Error::new(Fault::Connection, error)))
        };
        let main = connect(None)?;
        let back = duplicate(&*main).map_err(to_destination)?;
        self.forwarder.abort_handle().watch(main.interrupter());
        let mut main = Writer::new(main);
        // A QEMU waits for the first bytes of each connection, and does nothing else meanwhile.
        main.put(&MAIN_MAGIC.to_be_bytes())
            .and_then(|()| main.flush())
            .map_err(|error| to_destination(error.into()))?;
        let channels = self.config.outgoing_channels.ids();
        let channels = channels.map(|channel| {
            let place = Place::default().channel(channel);
            connect(Some(channel)).map_err(|error| error.at(place))
        });
        Ok(Onward {
            uuid,
            main,
            back,
            channels: channels.collect::<Result<_, _>>()?,
        })
    }

    /// How long to wait for the destination's word: it comes a moment after its connections break, or after it was
    /// told to run the guest.
    fn patience(&self, result: &Result<(), Error>, link: &Link) -> Duration {
        let is_to_come = match result {
            Err(error) => is_destination_gone(error),
            Ok(()) => link.is_released() && link.confirmed().is_none(),
        };
        match is_to_come {
            true => self.limits().last_word,
            false => Duration::ZERO,
        }
    }

    /// What counts in the end: a guest that was handed over is handed over, and of the errors it is
    /// the destination's own word, or else the first one.
    fn outcome(result: Result<(), Error>, ended: Option<&Ended>, link: &Link) -> Result<(), Error> {
        if link.confirmed().is_some() {
            return Ok(());
        }
        let word = ended.and_then(|ended| ended.outcome.as_ref().err());
        match (result, word) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(word)) => Err(word.clone()),
            (Err(error), Some(word))
                if is_destination_gone(&error) && word.fault() == Fault::Peer =>
            {
                Err(word.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    fn report(
        &self,
        passed: Passed,
        mut forwarding: Forwarding<'_>,
        link: &Link,
    ) -> Result<RelayReport, Error> {
        let start = link.start();
        let confirmed = link.confirmed();
        let end = confirmed.unwrap_or_else(Instant::now);
        let channels = match forwarding.finish() {
            Ok(channels) => channels,
            Err(error) if confirmed.is_none() => return Err(error),
            // The connections may break once the guest is handed over.
            Err(error) => {
                log::debug!("after the handover: {error}");
                forwarding.stats()
            }
        };
        let (Some(setup_end), Some(ram_end)) = (passed.setup_end, passed.ram_end) else {
            let what = "a migration has been passed on to its end without any RAM";
            return Err(Error::new(Fault::Caller, what));
        };
        Ok(RelayReport {
            machine: passed.machine,
            total_time: end.saturating_duration_since(start),
            setup_time: setup_end.saturating_duration_since(start),
            device_time: end.saturating_duration_since(ram_end),
            confirmed: confirmed.is_some(),
            ram_bytes: passed.ram_bytes,
            main_bytes: passed.bytes,
            main_zero_pages: passed.zero_pages,
            page_size: passed.page_size.bytes_u64(),
            channels,
        })
    }

    fn limits(&self) -> &Limits {
        &self.config.forwarder.limits
    }

    /// Makes an error the migration's, unless it has one: then that one is answered.
    fn fail(&self, error: Error) -> Error {
        let abort = self.forwarder.abort_handle();
        abort.fail(error.clone());
        abort.error().unwrap_or(error)
    }
}

/// A relay that both sides are connected to.
struct Ready<'f> {
    /// The main connections; what was read from the source's.
    source: Incoming,
    head: Event,
    destination: Writer,
    forwarding: Forwarding<'f>,
    back: ReturnPath,
    link: Arc<Link>,
}

/// The connections to the destination.
struct Onward {
    uuid: Uuid,
    main: Writer,
    back: Box<dyn Transport>,
    channels: Vec<Box<dyn Transport>>,
}

/// Tells the source that the guest stays there, if it still listens; returns whether it has been told.
fn refuse(mut to_source: Box<dyn Transport>, link: &Link, limit: Duration) -> bool {
    if !link.has_return_path() || link.is_shut() {
        return link.is_shut();
    }
    to_source.resume();
    to_source.set_time_limit(Some(limit));
    let bytes = ReturnMessage::Shut(1).encode();
    send_all(&mut *to_source, &mut [bytes.as_slice().into()])
        .inspect_err(|error| log::debug!("the source cannot be told of the failure: {error}"))
        .is_ok()
}

/// A second handle, for the other direction.
fn duplicate(transport: &dyn Transport) -> Result<Box<dyn Transport>, Error> {
    transport.duplicate().map_err(|error| {
        let what = format!("the main connection cannot be used by two threads: {error}");
        Error::new(Fault::Caller, what)
    })
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name())
    }
}
