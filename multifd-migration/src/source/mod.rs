// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending end of a migration.
//!
//! Memory is sent in rounds while the guest runs: first all of it, then what the guest has written to
//! meanwhile. Once the rest can be sent within the downtime, the guest is paused, and the last
//! memory and its devices are sent.

mod beside_ram;
#[cfg(feature = "serde")]
mod channel_json;
mod config;
mod convergence;
mod dirty_memory;
mod early;
mod handle;
mod host;
mod info;
mod pacer;
mod precopy;
mod return_path;
mod rounds;
mod status;
mod stillness;
mod supervised;
mod switchover;
mod throttle;
mod untouched;
mod zero_scan;

pub use config::{Connections, OverTime, SourceConfig};
pub use convergence::Tuning;
pub use early::EarlySections;
pub use handle::SourceHandle;
pub use host::SourceHost;
pub use info::{MigrationInfo, MoreInfo, RamInfo, RoundInfo};
pub use status::{GuestAfter, SourceEvent, SourceFailure, Status};
pub use throttle::AutoConverge;

pub use crate::report::DownTime;

use std::sync::Arc;
use std::time::{Duration, Instant};

use migration_params::ZeroPageDetection;
use multifd_core::{Error, Fault, GuestMemory, MultifdMethods, Place, Sender, SenderConfig, Side};

use crate::handover;
use crate::report::Report;
use crate::stream::{
    AnnouncedBlock, Command, Configuration, EarlyPlace, Outgoing, RamSection, Writer,
};
use convergence::Convergence;
use dirty_memory::{DirtyMemory, LastFetch};
use host::Stopped;
use return_path::{MEMORY_PING, Over, ReturnPath};
use status::Stage;
use supervised::Supervised;
use zero_scan::ZeroScan;

/// Sends a guest: its memory while it runs, then its devices.
#[derive(Debug)]
pub struct Source {
    config: SourceConfig,
    sender: Sender,
    stream: Outgoing,
    return_path: Option<ReturnPath>,
    handle: SourceHandle,
    start: Instant,
    setup_time: Duration,
    main_zero_pages: u64,
    zero_scan: ZeroScan,
    convergence: Convergence,
    last_fetch: LastFetch,
    stage: Stage,
    /// The value of the last PING.
    pings: u32,
}

impl Source {
    /// Starts the channels' threads and sets up the method on each; nothing but initial packets is
    /// sent yet.
    ///
    /// # Errors
    /// No channel or more than 255, a thread that cannot be started, a method that cannot be set
    /// up.
    pub fn new(
        config: SourceConfig,
        memory: GuestMemory,
        method: Arc<dyn MultifdMethods>,
        connections: Connections,
    ) -> Result<Self, Error> {
        let mut sender_config = SenderConfig::default();
        sender_config.uuid = config.uuid;
        sender_config.zero_pages = config.zero_pages == ZeroPageDetection::Multifd;
        sender_config.adapt = config.adapt;
        sender_config.limits = config.limits.clone();
        sender_config.threads = Arc::clone(&config.threads);
        let page_size = memory.page_size();
        let sizes = (memory.total_bytes(), page_size.bytes_u64());
        let start = Instant::now();
        let zero_scan = ZeroScan::new(&memory, config.zero_pages)?;
        let sender = Sender::start(&sender_config, memory, &method, connections.channels)?;
        let abort = sender.abort_handle();
        abort.watch(connections.main.interrupter());
        let return_path = connections
            .return_path
            .map(|transport| {
                let listens_to = (transport, config.hand_over);
                ReturnPath::start(listens_to, abort.clone(), &config.threads)
            })
            .transpose()?;
        let mut writer = Writer::new(connections.main);
        // The destination reads the main connection no further while it waits for the channels.
        let channels = sender.monitor();
        writer.set_patience(config.limits.destination, move || channels.wire_bytes());
        let mut stream = Outgoing::new(writer, page_size, config.sync_mode);
        stream.set_ram_section_id(config.ram_section_id);
        let handle = SourceHandle::new((abort, sender.monitor()), sizes, start, config.tuning);
        Ok(Self {
            config,
            sender,
            stream,
            return_path,
            handle,
            start,
            setup_time: Duration::ZERO,
            main_zero_pages: 0,
            zero_scan,
            convergence: Convergence::default(),
            last_fetch: LastFetch::none(start),
            stage: Stage::Sending,
            pings: 1,
        })
    }

    /// What watches and steers the migration from other threads.
    pub fn handle(&self) -> SourceHandle {
        self.handle.clone()
    }

    /// Migrates a guest that runs. Blocks until the destination has confirmed; with an answer of
    /// `Ok` the guest is paused here and must not be resumed: it is the destination's.
    ///
    /// # Errors
    /// Whatever failed first, and where the guest is now.
    pub fn run(mut self, host: &mut dyn SourceHost) -> Result<Report, SourceFailure> {
        let mut host = Supervised::new(host);
        match self.send_guest(&mut host) {
            Ok(down_time) => Ok(self.complete(down_time, &mut host)),
            Err(error) => Err(self.fail(error, &mut host)),
        }
    }

    /// Migrates a guest that is stopped and stays so, with the devices of the configuration. Blocks
    /// until the destination has confirmed; with an answer of `Ok` and a return path, the guest may
    /// run there and must not run here any more.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_stopped(mut self) -> Result<Report, SourceFailure> {
        let mut guest = Stopped::new(std::mem::take(&mut self.config.devices));
        self.run(&mut guest)
    }

    fn send_guest(&mut self, host: &mut Supervised<'_>) -> Result<DownTime, Error> {
        self.enter(host, Status::Setup)?;
        self.send_head()?;
        host.start_log()?;
        let mut dirty = DirtyMemory::all(self.sender.memory());
        self.setup_time = self.start.elapsed();
        let setup_time = self.setup_time;
        self.handle.update(|state| {
            state.setup_time = setup_time;
            state.passes = 1;
            state.last_pass.at = setup_time;
        });
        self.last_fetch.at = Instant::now();
        self.enter(host, Status::Active)?;
        host.host.event(&SourceEvent::Pass(1));
        self.precopy(host, &mut dirty)?;
        self.send_early(EarlyPlace::BesideRam)?;
        self.switch_over(host, &mut dirty)
    }

    /// The stream's head, the list of blocks with what stands around it, and the first barrier, which has to come
    /// before any page.
    fn send_head(&mut self) -> Result<(), Error> {
        let configuration = Configuration {
            machine: self.config.machine.clone(),
            page_bits: self.config.page_bits,
            uuid: self.config.validate_uuid.then_some(self.config.uuid),
            ..Configuration::default()
        };
        self.stream.configuration(&configuration)?;
        if self.return_path.is_some() {
            self.stream.command(Command::OpenReturnPath)?;
            self.stream.command(Command::Ping(self.pings))?;
            if self.config.hand_over {
                self.stream.command(Command::Ping(handover::OFFER))?;
            }
        }
        self.send_early(EarlyPlace::BeforeRam)?;
        let blocks = self.sender.memory().blocks().iter();
        let blocks = blocks.map(|block| AnnouncedBlock {
            name: block.name().clone(),
            used_length: block.len(),
        });
        let blocks = blocks.collect();
        let mut section: RamSection<'_> = self.stream.ram_start(blocks)?;
        section.sync()?;
        section.finish()?;
        if let Some(return_path) = &self.return_path {
            // Answered once the destination has its memory, which may take it long.
            self.pings = MEMORY_PING;
            self.stream.command(Command::Ping(self.pings))?;
            let excused = return_path.making_memory(self.config.limits.memory);
            self.sender.set_excuse(excused.clone());
            self.stream.writer_mut().set_excuse(excused);
        }
        self.send_early(EarlyPlace::BehindStart)?;
        self.stream.flush()?;
        self.sender.sync()
    }

    /// How often the dirty log was fetched.
    fn passes(&self) -> u64 {
        let mut passes = 0;
        self.handle.update(|state| passes = state.passes);
        passes
    }

    /// Ends the threads, closes the connections, and reports. The guest is the destination's by now,
    /// whatever happens here.
    fn complete(mut self, down_time: DownTime, host: &mut Supervised<'_>) -> Report {
        // What the host still does is neither the guest's downtime nor the migration's.
        let total_time = self.start.elapsed();
        let main_bytes = self.stream.writer_mut().offset();
        // First of all: without a return path its end is what the destination waits for.
        drop(self.return_path);
        drop(self.stream);
        host.end(false);
        let monitor = self.sender.monitor();
        let mut report = Report {
            total_time,
            setup_time: self.setup_time,
            down_time: down_time.total(),
            down_time_items: Some(down_time),
            ram_bytes: self.sender.memory().total_bytes(),
            run_state: Some(host.run_state()),
            main_bytes,
            main_zero_pages: self.main_zero_pages,
            page_size: self.sender.memory().page_size().bytes_u64(),
            channels: monitor.stats(),
        };
        match self.sender.finish() {
            Ok(stats) => report.channels = stats,
            Err(error) => log::debug!("after the destination has taken the guest: {error}"),
        }
        self.handle.set_remaining_pages(0);
        self.handle.update(|state| {
            state.status = Status::Completed;
            state.total_time = Some(total_time);
        });
        host.host.event(&SourceEvent::Status(Status::Completed));
        report
    }

    /// Ends the migration with an error, and lets the guest run on where that is safe.
    fn fail(self, error: Error, host: &mut Supervised<'_>) -> SourceFailure {
        let mut first = self.sender.abort_handle().error().unwrap_or(error);
        let may_be_there = self.guest_after() == GuestAfter::InDoubt;
        if may_be_there {
            // A refusal may be under way, which says that the guest is here.
            first = self.explain(first);
        }
        let guest = self.guest_after();
        // The connections break before the guest runs on, so that nobody waits for it.
        self.sender.abort_handle().fail(first.clone());
        host.end(guest == GuestAfter::Here);
        // Only now: nobody is to stand still for the destination's reason.
        let error = if may_be_there {
            first
        } else {
            self.explain(first)
        };
        let error = error.at(Place::on(Side::Source));
        let status = match (error.fault(), guest) {
            (Fault::Aborted, GuestAfter::Here) => Status::Cancelled,
            _ => Status::Failed,
        };
        let (handle, total_time) = (self.handle.clone(), self.start.elapsed());
        drop(self);
        handle.update(|state| {
            if status == Status::Failed {
                state.error = Some(error.to_string());
            }
            state.status = status;
            state.total_time = Some(total_time);
        });
        if status == Status::Cancelled {
            host.host.event(&SourceEvent::Status(Status::Cancelling));
        }
        host.host.event(&SourceEvent::Status(status));
        SourceFailure { error, guest }
    }

    /// Where the guest is if the migration fails now.
    fn guest_after(&self) -> GuestAfter {
        let return_path = self.return_path.as_ref();
        match self.stage {
            Stage::Sending => GuestAfter::Here,
            Stage::Sent if return_path.is_some_and(ReturnPath::has_refused) => GuestAfter::Here,
            Stage::Sent | Stage::GivenUp => GuestAfter::InDoubt,
        }
    }

    /// The error that says most: the destination's own word, if there is one, comes a moment after
    /// the connections break.
    fn explain(&self, first: Error) -> Error {
        match (&self.return_path, first.fault()) {
            (Some(return_path), Fault::Connection) => return_path
                .last_word(self.config.limits.last_word)
                .unwrap_or(first),
            _ => first,
        }
    }
}
