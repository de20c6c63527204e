//! The sending end of a migration.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::{self as queue, select_biased};

use super::control::{AbortHandle, Control};
use super::sender_thread::{Job, Report, SenderThread};
use super::spawn::{Spawn, StdThreads, ThreadGroup};
use crate::channel::{Batch, Counters, DeviceState, MigrationStats, Monitor};
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::{ChannelCount, ChannelId};
use crate::memory::{BlockIndex, GuestMemory};
use crate::method::MultifdMethods;
use crate::transport::Transport;
use crate::wire::{DeviceStateHeader, Uuid};

/// How a [`Sender`] works.
#[derive(Clone)]
#[non_exhaustive]
pub struct SenderConfig {
    /// The VM's UUID, all zero if it has none. The destination refuses another one than its own.
    pub uuid: Uuid,
    /// Look for zero pages in the channels' threads and list them without payload: QEMU's
    /// `zero-page-detection=multifd`. Only receivers since QEMU 9.0 understand it; on by default.
    pub zero_pages: bool,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            uuid: Uuid::default(),
            zero_pages: true,
            threads: Arc::new(StdThreads),
        }
    }
}

/// Sends pages of guest memory over several channels at once.
///
/// The host's thread queues pages; each channel has a thread of its own that turns them into
/// packets. Queueing blocks while all channels are busy. The first error of any channel ends all of
/// them, and every call from then on answers it.
#[derive(Debug)]
pub struct Sender {
    memory: GuestMemory,
    control: Arc<Control>,
    threads: ThreadGroup,
    lanes: Vec<Lane>,
    reports: queue::Receiver<Report>,
    /// Empty batches, and the channel in whose queue each has its place; the channel that has been
    /// idle the longest comes first.
    idle: VecDeque<(ChannelId, Batch)>,
    /// The batch that is being filled.
    current: Option<(ChannelId, Batch)>,
    /// How many channels have not sent the last SYNC yet.
    unsynced: usize,
    synced_once: bool,
}

/// What the host's thread knows of a channel.
#[derive(Debug)]
struct Lane {
    jobs: queue::Sender<Job>,
    counters: Arc<Counters>,
}

/// Batches that a channel has: one being sent, one waiting, so that it never waits for the host's
/// thread to fill the next.
const BATCHES_PER_CHANNEL: usize = 2;

/// Room in a channel's queue: its batches, one SYNC and one piece of device state, so that putting
/// one there never blocks.
const QUEUE_LEN: usize = BATCHES_PER_CHANNEL + 2;

impl Sender {
    /// Starts a thread for each connection; they become the channels 0, 1, ... in this order. Each
    /// sends its initial packet at once. Returns when the method is set up on all of them.
    ///
    /// # Errors
    /// No connection or more than 255; a thread cannot be started; the method cannot be set up.
    pub fn start(
        config: &SenderConfig,
        memory: GuestMemory,
        method: &Arc<dyn MultifdMethods>,
        connections: Vec<Box<dyn Transport>>,
    ) -> Result<Self, Error> {
        let count = u8::try_from(connections.len())
            .ok()
            .and_then(ChannelCount::new);
        let count = count.ok_or_else(|| {
            caller(format!(
                "{} multifd connections, wanted 1 to 255",
                connections.len()
            ))
        })?;
        let control = Control::new();
        let (report, reports) = queue::bounded(QUEUE_LEN * count.count());
        let mut sender = Self {
            memory,
            control,
            threads: ThreadGroup::new(),
            lanes: Vec::with_capacity(count.count()),
            reports,
            idle: VecDeque::with_capacity(BATCHES_PER_CHANNEL * count.count()),
            current: None,
            unsynced: count.count(),
            synced_once: false,
        };
        let packet_num = Arc::new(AtomicU64::new(0));
        for (channel, transport) in count.ids().zip(connections) {
            sender.control.watch(transport.interrupter());
            let (jobs, queue) = queue::bounded(QUEUE_LEN);
            let counters = Arc::new(Counters::default());
            sender.lanes.push(Lane {
                jobs,
                counters: Arc::clone(&counters),
            });
            let thread = SenderThread {
                channel,
                config: config.clone(),
                memory: sender.memory.clone(),
                method: Arc::clone(method),
                jobs: queue,
                reports: report.clone(),
                counters,
                packet_num: Arc::clone(&packet_num),
                control: Arc::clone(&sender.control),
            };
            let guard = sender.threads.guard(&sender.control);
            let body = Box::new(move || {
                let _guard = guard;
                thread.run(transport);
            });
            config
                .threads
                .spawn(format!("multifd-send-{channel}"), body)
                .map_err(|error| {
                    caller(format!("cannot start the channel's thread: {error}"))
                        .at(Place::default().channel(channel))
                })?;
        }
        drop(report);
        // Every channel reports its set-up like a first SYNC.
        sender.wait_synced()?;
        for _ in 0..BATCHES_PER_CHANNEL {
            let page_size = sender.memory.page_size();
            sender
                .idle
                .extend(count.ids().map(|channel| (channel, Batch::new(page_size))));
        }
        Ok(sender)
    }

    /// The memory that is sent.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Queues one page: it is read some time before the next [`Self::wait_sent`] returns. Between
    /// two calls of [`Self::sync`] a page may be queued once.
    ///
    /// # Errors
    /// The page is not a page of this memory; no SYNC was sent yet; or the migration failed.
    pub fn queue(&mut self, block: BlockIndex, offset: u64) -> Result<(), Error> {
        self.queue_run(block, offset, 1)
    }

    /// Queues `pages` adjacent pages. As [`Self::queue`].
    ///
    /// # Errors
    /// As [`Self::queue`].
    pub fn queue_run(&mut self, block: BlockIndex, offset: u64, pages: u64) -> Result<(), Error> {
        let page_size = self.memory.page_size();
        let end = pages
            .checked_mul(page_size.bytes_u64())
            .and_then(|len| offset.checked_add(len));
        let ram = self
            .memory
            .block(block)
            .ok_or_else(|| caller("no such RAM block"))?;
        if !page_size.is_aligned(offset) || end.is_none_or(|end| end > ram.len()) {
            let what = format!(
                "{pages} pages are not pages of a block of {:#x} bytes",
                ram.len()
            );
            return Err(caller(what).at(Place::default().block(ram.name().as_str()).offset(offset)));
        }
        if !self.synced_once {
            return Err(caller(
                "pages before the first SYNC: the destination has no memory yet",
            ));
        }
        for page in 0..pages {
            self.queue_page(block, offset + page * page_size.bytes_u64())?;
        }
        Ok(())
    }

    /// Hands over what is queued, though it is less than a packet.
    ///
    /// # Errors
    /// The migration failed.
    pub fn flush(&mut self) -> Result<(), Error> {
        if let Some((channel, batch)) = self.current.take() {
            self.give(channel, Job::Pages(batch))?;
        }
        Ok(())
    }

    /// Puts a barrier behind everything queued so far: one SYNC packet on each channel. The main
    /// channel must carry a sync point at the same place. Does not wait for the packets to be sent.
    ///
    /// # Errors
    /// The migration failed.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        // There is room for one SYNC in each queue.
        self.wait_synced()?;
        self.unsynced = self.lanes.len();
        self.synced_once = true;
        for channel in self.channels() {
            self.give(channel, Job::Sync)?;
        }
        Ok(())
    }

    /// Sends a piece of device state on a channel that is free. Only with a method that leaves
    /// pages as they are does QEMU send such packets.
    ///
    /// # Errors
    /// No byte or more than 64 MiB, an id string of no or more than 255 bytes; or the migration
    /// failed.
    pub fn device_state(&mut self, state: DeviceState) -> Result<(), Error> {
        let len = u32::try_from(state.data.len()).unwrap_or(u32::MAX);
        if len == 0
            || len > DeviceStateHeader::MAX_PAYLOAD
            || !(1..=255).contains(&state.idstr.len())
        {
            return Err(caller(format!(
                "device state of {state}: wanted 1 to {} bytes and an id string of 1 to 255",
                DeviceStateHeader::MAX_PAYLOAD
            )));
        }
        let (channel, batch) = self.idle_batch()?;
        self.give(channel, Job::DeviceState(Box::new((state, batch))))
    }

    /// Hands over what is queued and waits until all of it, SYNC packets included, has been given
    /// to the connections.
    ///
    /// # Errors
    /// The migration failed.
    pub fn wait_sent(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.wait_synced()?;
        while self.idle.len() < BATCHES_PER_CHANNEL * self.lanes.len() {
            self.wait_report()?;
        }
        Ok(())
    }

    /// Sends what is still queued, ends the threads and closes the connections. To be called when
    /// the destination has confirmed, or when nothing is to be confirmed: QEMU takes the end of a
    /// channel before that for a failure.
    ///
    /// # Errors
    /// The migration failed.
    pub fn finish(mut self) -> Result<MigrationStats, Error> {
        self.wait_sent()?;
        self.control.finish();
        self.threads.join();
        match self.control.error() {
            Some(error) => Err(error),
            None => Ok(self.stats()),
        }
    }

    /// What has been sent so far.
    pub fn stats(&self) -> MigrationStats {
        self.monitor().stats()
    }

    /// What has been sent so far, to be asked from any thread.
    pub fn monitor(&self) -> Monitor {
        let counters = self
            .lanes
            .iter()
            .map(|lane| Arc::clone(&lane.counters))
            .collect();
        Monitor::new(counters, self.memory.page_size())
    }

    /// Bytes of guest memory that are queued or being sent, at most.
    pub fn in_flight_bytes(&self) -> u64 {
        let batches = BATCHES_PER_CHANNEL * self.lanes.len() - self.idle.len();
        let page_size = self.memory.page_size();
        (batches * page_size.pages_per_packet() * page_size.bytes()) as u64
    }

    /// What aborts this migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.control.handle()
    }

    fn queue_page(&mut self, block: BlockIndex, offset: u64) -> Result<(), Error> {
        if self
            .current
            .as_ref()
            .is_some_and(|(_, batch)| batch.block != Some(block))
        {
            self.flush()?;
        }
        let (channel, mut batch) = match self.current.take() {
            Some(current) => current,
            None => self.idle_batch()?,
        };
        batch.block = Some(block);
        batch.offsets.push(offset);
        if batch.is_full() {
            return self.give(channel, Job::Pages(batch));
        }
        self.current = Some((channel, batch));
        Ok(())
    }

    /// An empty batch of a channel that can take it; waits for one.
    fn idle_batch(&mut self) -> Result<(ChannelId, Batch), Error> {
        while let Ok(report) = self.reports.try_recv() {
            self.take(report);
        }
        loop {
            if let Some(idle) = self.idle.pop_front() {
                return Ok(idle);
            }
            self.wait_report()?;
        }
    }

    fn wait_synced(&mut self) -> Result<(), Error> {
        while self.unsynced > 0 {
            self.wait_report()?;
        }
        Ok(())
    }

    fn wait_report(&mut self) -> Result<(), Error> {
        let report = select_biased! {
            recv(self.control.woken()) -> _ => return Err(self.failed()),
            recv(self.reports) -> report => report.map_err(|_| self.failed())?,
        };
        self.take(report);
        Ok(())
    }

    fn take(&mut self, report: Report) {
        match report {
            Report::Sent(channel, batch) => self.idle.push_back((channel, batch)),
            Report::Synced => self.unsynced = self.unsynced.saturating_sub(1),
        }
    }

    fn give(&self, channel: ChannelId, job: Job) -> Result<(), Error> {
        if let Some(error) = self.control.error() {
            return Err(error);
        }
        let lane = self
            .lanes
            .get(channel.index())
            .ok_or_else(|| caller("no such channel"))?;
        lane.jobs.send(job).map_err(|_| self.failed())
    }

    fn channels(&self) -> impl Iterator<Item = ChannelId> + use<> {
        let count = u8::try_from(self.lanes.len())
            .ok()
            .and_then(ChannelCount::new);
        count.into_iter().flat_map(ChannelCount::ids)
    }

    fn failed(&self) -> Error {
        self.control.reason()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.control.fail(Error::aborted());
        self.threads.join();
    }
}

impl std::fmt::Debug for SenderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SenderConfig(uuid {}, zero_pages {})",
            self.uuid, self.zero_pages
        )
    }
}

fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into()).at(Place::on(Side::Source))
}
