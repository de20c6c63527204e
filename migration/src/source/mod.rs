//! The sending end of a migration.

mod config;
mod return_path;

pub use config::{Connections, SourceConfig};

use std::sync::Arc;
use std::time::Instant;

use migration_params::ZeroPageDetection;
use multifd_core::memory::BlockIndex;
use multifd_core::{
    AbortHandle, Error, Fault, GuestMemory, Monitor, MultifdMethods, Place, Sender, SenderConfig,
    Side,
};

use crate::pacer::Pacer;
use crate::report::Report;
use crate::stream::{AnnouncedBlock, Command, Configuration, Outgoing, RamSection, Writer};
use return_path::ReturnPath;

/// Sends a guest that is stopped: all of its memory, then its devices.
#[derive(Debug)]
pub struct Source {
    config: SourceConfig,
    sender: Sender,
    stream: Outgoing,
    return_path: Option<ReturnPath>,
    start: Instant,
    main_zero_pages: u64,
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
            main_zero_pages: 0,
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
            main_zero_pages: self.main_zero_pages,
            page_size: self.sender.memory().page_size().bytes_u64(),
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
                        self.main_zero_pages +=
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
    /// Sends zero pages on the main channel, queues the others, and answers how many were zero.
    fn send_legacy(
        &self,
        memory: &GuestMemory,
        section: &mut RamSection<'_>,
        sender: &mut Sender,
    ) -> Result<u64, Error> {
        let page_size = memory.page_size();
        let block = memory.block(self.index);
        let mut zero = 0;
        for page in 0..self.pages {
            let offset = self.offset + page * page_size.bytes_u64();
            let span = block.and_then(|block| block.span(offset, page_size.bytes()));
            if span.is_some_and(|span| span.is_zero()) {
                section.zero_page(self.position, offset)?;
                zero += 1;
            } else {
                sender.queue(self.index, offset)?;
            }
        }
        Ok(zero)
    }
}

/// Ends a section with its one barrier.
fn close(mut section: RamSection<'_>) -> Result<(), Error> {
    section.sync()?;
    section.finish()?;
    Ok(())
}
