// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The thread of one sending channel.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{self as queue, select_biased};

use crate::channel::{Batch, BatchChannel, Counters, DeviceState, Zeros};
use crate::engine::channel_start::ChannelStart;
use crate::engine::control::Control;
use crate::engine::spawn::PanicGuard;
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::{ChannelId, PACKET_BYTES};
use crate::memory::{CopyWindow, GuestMemory, Mapping, RamBlock};
use crate::method::ThreadKind;
use crate::transport::Transport;
use crate::wire::BlockName;

/// What the host's thread wants of a channel.
pub(super) enum Job {
    Pages(Batch),
    /// The batch only comes along to be given back: it stands for the place in the queue.
    DeviceState(Box<(DeviceState, Batch)>),
    Sync,
}

/// What a channel tells the host's thread.
#[derive(Debug)]
pub(super) enum JobDone {
    /// A batch has been sent, and is empty again.
    Sent(ChannelId, Batch),
    /// The channel has been set up, or has sent a SYNC.
    Synced,
}

/// All that a channel's thread takes with it, but the connection.
pub(super) struct SenderThread {
    pub(super) channel: ChannelId,
    pub(super) start: ChannelStart,
    /// Look for zero pages.
    pub(super) zero_pages: bool,
    pub(super) counters: Arc<Counters>,
    pub(super) memory: GuestMemory,
    pub(super) jobs: queue::Receiver<Job>,
    pub(super) reports: queue::Sender<JobDone>,
    pub(super) control: Arc<Control>,
}

impl SenderThread {
    /// Runs until the migration is over; the first error of any channel ends all.
    pub(super) fn run(self, mut connection: Box<dyn Transport>) {
        let place = Place::on(Side::Source).channel(self.channel);
        let control = &*self.control;
        let _panic = PanicGuard(control);
        match self.send(&mut *connection) {
            Ok(()) => self.start.say_end(control, &mut *connection),
            Err(error) => control.fail(error.at(place)),
        }
    }

    fn send(&self, connection: &mut dyn Transport) -> Result<(), Error> {
        let (page_size, counters) = (self.memory.page_size(), Arc::clone(&self.counters));
        let (window, zeros) = (self.window()?, self.zeros()?);
        let thread = ThreadKind::Send(self.channel);
        let channel = self
            .start
            .open((self.channel, thread), page_size, connection, counters)?;
        let zeros = zeros.as_ref().map_or(Zeros::Listed, Zeros::Sent);
        let mut batches = BatchChannel::new(channel, &self.memory, zeros, window.as_ref());
        self.report(JobDone::Synced);

        while let Some(job) = self.next_job() {
            let report = match job {
                Job::Pages(mut batch) => {
                    batches.send(&mut batch)?;
                    batch.clear();
                    JobDone::Sent(self.channel, batch)
                }
                Job::DeviceState(job) => {
                    let (state, batch) = *job;
                    batches.channel.send_device_state(&state)?;
                    JobDone::Sent(self.channel, batch)
                }
                Job::Sync => {
                    batches.channel.send_sync()?;
                    JobDone::Synced
                }
            };
            self.report(report);
        }
        Ok(())
    }

    /// Where pages are copied to that may go while they are read.
    fn window(&self) -> Result<Option<CopyWindow>, Error> {
        CopyWindow::for_memory(&self.memory).map_err(|error| {
            let what = format!("no memory to copy pages to: {error}");
            Error::new(Fault::Caller, what)
        })
    }

    /// What is sent of pages that nobody has touched, if zero pages are sent. It is never written to, so it takes no
    /// memory.
    fn zeros(&self) -> Result<Option<RamBlock>, Error> {
        if self.zero_pages {
            return Ok(None);
        }
        let zeros = || {
            let mapping = Mapping::anonymous(PACKET_BYTES)?;
            let name = BlockName::new("zeros").ok_or(io::ErrorKind::InvalidData)?;
            RamBlock::new(name, Arc::new(mapping)).map_err(io::Error::other)
        };
        let zeros = zeros().map_err(|error| {
            let what = format!("no memory for a packet of zeros: {error}");
            Error::new(Fault::Caller, what)
        })?;
        Ok(Some(zeros))
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
        self.counters.waited_for_work(start.elapsed());
        job
    }

    /// Reports to the host's thread; there is room for every report that can be outstanding.
    fn report(&self, report: JobDone) {
        // If the host's thread is gone, so is the migration, and `next_job` says so.
        let _ = self.reports.send(report);
    }
}
