//! The sending end of a migration.

mod return_path;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use migration_params::{Parameters, ZeroPageDetection};
use multifd_core::memory::BlockIndex;
use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;
use multifd_core::{
    AbortHandle, Error, Fault, GuestMemory, Monitor, MultifdMethods, Place, Sender, SenderConfig,
    Side, Spawn, StdThreads,
};

use crate::pacer::Pacer;
use crate::report::Report;
use crate::stream::{
    AnnouncedBlock, Command, Configuration, DeviceSection, Outgoing, RamSection, SyncMode, Writer,
};
use return_path::ReturnPath;

/// How a [`Source`] works.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceConfig {
    /// The machine type that the destination must have, as QEMU names it: `pc-i440fx-10.0`, or
    /// `none`, the default, for a hypervisor that is not QEMU.
    pub machine: String,
    /// The VM's UUID, all zero if it has none. The destination refuses another one than its own.
    pub uuid: Uuid,
    /// How barriers stand on the main channel: what the destination is set to. Per round, unless it
    /// is QEMU's machine type 8.0 or older.
    pub sync_mode: SyncMode,
    /// `zero-page-detection`. `multifd` wants a destination of QEMU 9.0 or later.
    pub zero_pages: ZeroPageDetection,
    /// `max-bandwidth`, bytes per second over all channels together; `None` is unlimited.
    pub max_bandwidth: Option<NonZeroU64>,
    /// The state of each device, in the order in which the destination loads it.
    pub devices: Vec<DeviceSection>,
    /// How long the destination may take to confirm once it has everything; 60 s by default.
    pub confirm_time_limit: Duration,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            machine: "none".into(),
            uuid: Uuid::default(),
            sync_mode: SyncMode::PerRound,
            zero_pages: ZeroPageDetection::Multifd,
            max_bandwidth: None,
            devices: Vec::new(),
            confirm_time_limit: Duration::from_secs(60),
            threads: Arc::new(StdThreads),
        }
    }
}

impl SourceConfig {
    /// The defaults, with what the parameters say.
    pub fn with_parameters(parameters: &Parameters) -> Self {
        Self {
            zero_pages: parameters.zero_page_detection,
            max_bandwidth: parameters.max_bandwidth.non_zero(),
            ..Self::default()
        }
    }
}

/// The connections of a source, all to the same destination.
pub struct Connections {
    /// The main connection, to send.
    pub main: Box<dyn Transport>,
    /// A second handle of the main connection, to receive: with it the destination confirms, and
    /// the guest never runs on both sides. Without it the end of sending is the end.
    pub return_path: Option<Box<dyn Transport>>,
    /// The multifd connections, `multifd-channels` of them.
    pub channels: Vec<Box<dyn Transport>>,
}

/// Sends a guest that is stopped: all of its memory, then its devices.
#[derive(Debug)]
pub struct Source {
    config: SourceConfig,
    sender: Sender,
    stream: Outgoing,
    return_path: Option<ReturnPath>,
    start: Instant,
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
        method: &Arc<dyn MultifdMethods>,
        connections: Connections,
    ) -> Result<Self, Error> {
        let mut sender_config = SenderConfig::default();
        sender_config.uuid = config.uuid;
        sender_config.zero_pages = config.zero_pages == ZeroPageDetection::Multifd;
        sender_config.threads = Arc::clone(&config.threads);
        let page_size = memory.page_size();
        let start = Instant::now();
        let sender = Sender::start(&sender_config, memory, method, connections.channels)?;
        let abort = sender.abort_handle();
        abort.watch(connections.main.interrupter());
        let return_path = connections
            .return_path
            .map(|transport| ReturnPath::start(transport, abort, &*config.threads))
            .transpose()?;
        let writer = Writer::new(connections.main);
        let stream = Outgoing::new(writer, page_size, config.sync_mode);
        Ok(Self {
            config,
            sender,
            stream,
            return_path,
            start,
        })
    }

    /// What aborts the migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.sender.abort_handle()
    }

    /// What the channels have sent so far, to be asked from another thread.
    pub fn monitor(&self) -> Monitor {
        self.sender.monitor()
    }

    /// Migrates. Blocks until the destination has confirmed; with an answer of `Ok` and a return
    /// path, the guest may run there and must not run here any more.
    ///
    /// # Errors
    /// Whatever failed first. The guest may run here: the destination has not got all of it.
    pub fn run(mut self) -> Result<Report, Error> {
        let result = self.migrate();
        let result = match result {
            Ok(report) => self.finish(report),
            Err(error) => Err(self.explain(error)),
        };
        result.map_err(|error| error.at(Place::on(Side::Source)))
    }

    fn migrate(&mut self) -> Result<Report, Error> {
        self.send_head()?;
        let setup_time = self.start.elapsed();
        self.send_memory()?;

        let switch = Instant::now();
        self.stream.command(Command::SwitchoverStart)?;
        close(self.stream.ram_end()?)?;
        self.stream.flush()?;
        self.sender.sync()?;
        self.sender.wait_sent()?;
        if let Some(return_path) = &self.return_path {
            return_path.expect_confirmation();
        }
        self.stream.tail(&self.config.devices)?;
        self.stream.flush()?;
        if let Some(return_path) = &self.return_path {
            return_path.wait_confirmation(self.config.confirm_time_limit)?;
        }
        Ok(Report {
            total_time: self.start.elapsed(),
            setup_time,
            down_time: switch.elapsed(),
            ram_bytes: self.sender.memory().total_bytes(),
            main_bytes: self.stream.writer_mut().offset(),
            channels: self.sender.stats(),
        })
    }

    /// The stream's head, the list of blocks, and the first barrier, which has to come before any
    /// page.
    fn send_head(&mut self) -> Result<(), Error> {
        let configuration = Configuration {
            machine: self.config.machine.clone(),
            ..Configuration::default()
        };
        self.stream.configuration(&configuration)?;
        if self.return_path.is_some() {
            self.stream.command(Command::OpenReturnPath)?;
            self.stream.command(Command::Ping(1))?;
        }
        let blocks = self.sender.memory().blocks().iter();
        let blocks = blocks.map(|block| AnnouncedBlock {
            name: block.name().clone(),
            used_length: block.len(),
        });
        let blocks = blocks.collect();
        close(self.stream.ram_start(blocks)?)?;
        self.stream.flush()?;
        self.sender.sync()
    }

    /// Every page once, and a barrier.
    fn send_memory(&mut self) -> Result<(), Error> {
        let memory = self.sender.memory().clone();
        let pacer = self
            .config
            .max_bandwidth
            .map(|limit| Pacer::new(limit, &self.sender));
        let mut section = self.stream.ram_part()?;
        for (position, (index, block)) in memory.indexed().enumerate() {
            let page_size = memory.page_size().bytes_u64();
            let pages = block.len() / page_size;
            let batch = memory.page_size().pages_per_packet() as u64;
            for first in (0..pages).step_by(memory.page_size().pages_per_packet()) {
                if let Some(pacer) = &pacer {
                    pacer.wait(&self.sender)?;
                }
                let count = batch.min(pages - first);
                let run = Run {
                    position,
                    index,
                    offset: first * page_size,
                    pages: count,
                };
                match self.config.zero_pages {
                    ZeroPageDetection::Legacy => {
                        run.send_legacy(&memory, &mut section, &mut self.sender)?;
                    }
                    _ => self.sender.queue_run(index, run.offset, count)?,
                }
            }
        }
        close(section)?;
        self.stream.flush()?;
        self.sender.sync()?;
        // What is still queued here is not the switchover's to wait for.
        self.sender.wait_sent()
    }

    /// Ends the threads, closes the connections, and reports.
    fn finish(self, mut report: Report) -> Result<Report, Error> {
        report.channels = self.sender.finish()?;
        Ok(report)
    }

    /// The error that says most: the destination's own word, if there is one, comes a moment after
    /// the connections break.
    fn explain(&self, error: Error) -> Error {
        let first = self.sender.abort_handle().error().unwrap_or(error);
        match (&self.return_path, first.fault()) {
            (Some(return_path), Fault::Connection) => return_path.last_word().unwrap_or(first),
            _ => first,
        }
    }
}

/// Some adjacent pages of one block.
struct Run {
    /// The block's place in the list that was announced.
    position: usize,
    index: BlockIndex,
    offset: u64,
    pages: u64,
}

impl Run {
    /// Sends zero pages on the main channel and queues the others.
    fn send_legacy(
        &self,
        memory: &GuestMemory,
        section: &mut RamSection<'_>,
        sender: &mut Sender,
    ) -> Result<(), Error> {
        let page_size = memory.page_size();
        let block = memory.block(self.index);
        for page in 0..self.pages {
            let offset = self.offset + page * page_size.bytes_u64();
            let span = block.and_then(|block| block.span(offset, page_size.bytes()));
            if span.is_some_and(|span| span.is_zero()) {
                section.zero_page(self.position, offset)?;
            } else {
                sender.queue(self.index, offset)?;
            }
        }
        Ok(())
    }
}

/// Ends a section with its one barrier.
fn close(mut section: RamSection<'_>) -> Result<(), Error> {
    section.sync()?;
    section.finish()?;
    Ok(())
}

impl std::fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceConfig")
            .field("machine", &self.machine)
            .field("uuid", &self.uuid)
            .field("sync_mode", &self.sync_mode)
            .field("zero_pages", &self.zero_pages)
            .field("max_bandwidth", &self.max_bandwidth)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connections(main and {} channels)", self.channels.len())
    }
}
