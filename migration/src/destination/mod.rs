//! The receiving end of a migration.

mod config;
mod host;
mod load;

pub use config::DestinationConfig;
pub use host::DestinationHost;

use std::sync::Arc;
use std::time::{Duration, Instant};

use multifd_core::transport::Transport;
use multifd_core::wire::MAIN_MAGIC;
use multifd_core::{AbortHandle, Error, Monitor, MultifdMethods, Place, Receiver, Side};

use crate::handover;
use crate::host_error::refused;
use crate::report::Report;
use crate::stream::{Incoming, Reader, ReturnMessage};
use load::Load;

/// Receives a guest: its memory, then its devices.
///
/// One thread of the host's [runs](Self::run) it; connections may be [accepted](Self::accept)
/// before or meanwhile, in any order.
#[derive(Debug)]
pub struct Destination {
    config: DestinationConfig,
    receiver: Receiver,
}

impl Destination {
    /// A destination that has no connection yet.
    pub fn new(config: DestinationConfig, method: Arc<dyn MultifdMethods>) -> Self {
        let receiver = Receiver::new(config.receiver.clone(), method);
        Self { config, receiver }
    }

    /// Takes a new connection, main or multifd. See [`Receiver::accept`].
    ///
    /// # Errors
    /// As there.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        self.receiver.accept(connection)
    }

    /// Whether all connections have been accepted.
    pub fn is_complete(&self) -> bool {
        self.receiver.is_complete()
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

    /// Migrates. Blocks until the host has everything and the source has been told so.
    ///
    /// # Errors
    /// Whatever failed first. The source has been told, if it can be; the guest must not run here.
    pub fn run(&self, host: &mut dyn DestinationHost) -> Result<Report, Error> {
        let start = Instant::now();
        let main = self.receiver.wait_main(self.config.main_time_limit);
        let main = main.map_err(|error| {
            let error = self.fail(error);
            self.receiver.settle(None, LAST_WORD);
            error
        })?;
        self.receiver.abort_handle().watch(main.interrupter());
        let reader = Reader::new(main, &MAIN_MAGIC.to_be_bytes());
        let mut stream = Incoming::new(reader, self.config.receiver.page_size);
        let result = self.migrate(&mut stream, host, start);
        result.map_err(|error| {
            let error = self.fail(error);
            self.refuse(stream);
            error
        })
    }

    fn migrate(
        &self,
        stream: &mut Incoming,
        host: &mut dyn DestinationHost,
        start: Instant,
    ) -> Result<Report, Error> {
        let mut load = Load::new(&self.config, &self.receiver, host);
        while !load.step(stream)? {}
        let switch = Instant::now();
        let limit = Some(self.config.device_time_limit);
        stream.reader_mut().transport_mut().set_time_limit(limit);
        let tail = stream.read_tail()?;
        let Load {
            host,
            setup_end,
            ram_bytes,
            main_zero_pages,
            hands_over,
            ..
        } = load;
        host.complete(&tail).map_err(refused)?;
        let channels = self.receiver.finish()?;
        if stream.has_return_path() {
            // The main connection was interrupted with the others.
            stream.reader_mut().transport_mut().resume();
            stream.reply(ReturnMessage::Shut(0))?;
            if hands_over {
                take_over(stream)?;
            }
        }
        Ok(Report {
            total_time: start.elapsed(),
            setup_time: setup_end.saturating_duration_since(start),
            down_time: switch.elapsed(),
            down_time_items: None,
            ram_bytes,
            main_bytes: stream.reader_mut().offset(),
            main_zero_pages,
            page_size: self.config.receiver.page_size.bytes_u64(),
            channels,
        })
    }

    /// Tells the source that the guest stays there, if it still listens, and closes the connections once it has
    /// heard it. A source without a return path learns it from the end of its main connection.
    fn refuse(&self, mut stream: Incoming) {
        let mut is_told = false;
        if stream.has_return_path() {
            let transport = stream.reader_mut().transport_mut();
            transport.resume();
            transport.set_time_limit(Some(LAST_WORD));
            is_told = stream
                .reply(ReturnMessage::Shut(1))
                .inspect_err(|error| log::debug!("the source cannot be told: {error}"))
                .is_ok();
        }
        let main = stream.into_reader().into_transport();
        self.receiver.settle(is_told.then_some(main), LAST_WORD);
    }

    /// Makes an error the migration's, unless it has one: then that one is answered.
    fn fail(&self, error: Error) -> Error {
        let abort = self.receiver.abort_handle();
        abort.fail(error.clone().at(Place::on(Side::Destination)));
        abort.error().unwrap_or(error)
    }
}

/// Waits until the source has given the guest up.
fn take_over(stream: &mut Incoming) -> Result<(), Error> {
    stream.wait_ping(handover::GO).map_err(|error| {
        let error = Error::from(error);
        let what = format!(
            "all of the guest is here, but the source did not say that it has given it up, \
             so it must not run here unless it is sure not to run there: {error}"
        );
        Error::new(error.fault(), what)
    })?;
    stream.reply(ReturnMessage::Pong(handover::GO))?;
    Ok(())
}

/// How long to try to tell the source of a failure, and how long to wait until it has heard it.
const LAST_WORD: Duration = Duration::from_secs(1);
