//! The thread of one sending channel.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crossbeam_channel::{self as queue, select_biased};

use crate::channel::{Batch, BatchChannel, Counters, DeviceState, SendChannel};
use crate::engine::control::Control;
use crate::engine::sender::SenderConfig;
use crate::engine::spawn::PanicGuard;
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::{ChannelId, PageSize};
use crate::memory::GuestMemory;
use crate::method::{ChannelSetup, MultifdMethods};
use crate::transport::Transport;
use crate::wire::InitPacket;

/// What the host's thread wants of a channel.
pub(crate) enum Job {
    Pages(Batch),
    /// The batch only comes along to be given back: it stands for the place in the queue.
    DeviceState(Box<(DeviceState, Batch)>),
    Sync,
}

/// What a channel tells the host's thread.
#[derive(Debug)]
pub(crate) enum Report {
    /// A batch has been sent, and is empty again.
    Sent(ChannelId, Batch),
    /// The channel has been set up, or has sent a SYNC.
    Synced,
}

/// All that a channel's thread takes with it, but the connection.
pub(crate) struct SenderThread {
    pub(crate) start: ChannelStart,
    pub(crate) memory: GuestMemory,
    pub(crate) jobs: queue::Receiver<Job>,
    pub(crate) reports: queue::Sender<Report>,
    pub(crate) control: Arc<Control>,
}

/// What a sending channel is made from.
pub(crate) struct ChannelStart {
    pub(crate) channel: ChannelId,
    pub(crate) config: SenderConfig,
    pub(crate) method: Arc<dyn MultifdMethods>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) packet_num: Arc<AtomicU64>,
}

impl SenderThread {
    /// Runs until the migration is over; the first error of any channel ends all.
    pub(crate) fn run(self, mut connection: Box<dyn Transport>) {
        let place = Place::on(Side::Source).channel(self.start.channel);
        let control = &*self.control;
        let _panic = PanicGuard(control);
        if let Err(error) = self.send(&mut *connection) {
            control.fail(error.at(place));
        }
    }

    fn send(&self, connection: &mut dyn Transport) -> Result<(), Error> {
        let channel_id = self.start.channel;
        let page_size = self.memory.page_size();
        let channel = self.start.open(page_size, connection)?;
        let zero_pages = self.start.config.zero_pages;
        let mut batches = BatchChannel::new(channel, &self.memory, zero_pages);
        self.report(Report::Synced);

        while let Some(job) = self.next_job() {
            let report = match job {
                Job::Pages(mut batch) => {
                    batches.send(&mut batch)?;
                    batch.clear();
                    Report::Sent(channel_id, batch)
                }
                Job::DeviceState(job) => {
                    let (state, batch) = *job;
                    batches.channel.send_device_state(&state)?;
                    Report::Sent(channel_id, batch)
                }
                Job::Sync => {
                    batches.channel.send_sync()?;
                    Report::Synced
                }
            };
            self.report(report);
        }
        Ok(())
    }

    /// The next job; `None` once the migration is over.
    fn next_job(&self) -> Option<Job> {
        if let Ok(job) = self.jobs.try_recv() {
            return Some(job);
        }
        let start = Instant::now();
        let job = select_biased! {
            recv(self.control.woken()) -> _ => None,
            recv(self.jobs) -> job => job.ok(),
        };
        self.start.counters.waited_for_work(start.elapsed());
        job
    }

    /// Reports to the host's thread; there is room for every report that can be outstanding.
    fn report(&self, report: Report) {
        // If the host's thread is gone, so is the migration, and `next_job` says so.
        let _ = self.reports.send(report);
    }
}

impl ChannelStart {
    /// Sets up the channel on its own thread, up to its initial packet.
    pub(crate) fn open<'m>(
        &'m self,
        page_size: PageSize,
        connection: &'m mut dyn Transport,
    ) -> Result<SendChannel<'m>, Error> {
        let setup = ChannelSetup::new(self.channel, page_size);
        let method = self
            .method
            .send_setup(&setup)
            .map_err(|error| Error::new(error.fault(), error))?;
        let mut channel = SendChannel::new(
            page_size,
            (self.method.id(), method),
            connection,
            &self.packet_num,
            Arc::clone(&self.counters),
        );
        self.config
            .threads
            .channel_ready(self.channel)
            .map_err(|error| {
                Error::new(
                    Fault::Caller,
                    format!("the host refused the channel's thread: {error}"),
                )
            })?;
        channel.send_init(InitPacket {
            uuid: self.config.uuid,
            channel: self.channel.number(),
        })?;
        Ok(channel)
    }
}
