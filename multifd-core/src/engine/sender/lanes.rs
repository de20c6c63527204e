// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The queues between the host's thread and the channels of a sender.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{self as queue, select_biased};

use super::config::SenderConfig;
use super::thread::{Job, JobDone, SenderThread};
use crate::adapt::Steering;
use crate::channel::{Batch, Counters};
use crate::engine::channel_start::{ChannelStart, channel_count, dropped, not_set_up};
use crate::engine::control::Control;
use crate::engine::spawn::ThreadGroup;
use crate::engine::stall::Stall;
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::{ChannelCount, ChannelId};
use crate::memory::GuestMemory;
use crate::method::{MultifdMethods, ThreadKind};
use crate::transport::Transport;

/// All channels of a sender, as the host's thread sees them. Full batches go out, empty ones come
/// back.
#[derive(Debug)]
pub(super) struct Lanes {
    control: Arc<Control>,
    channels: ChannelCount,
    lanes: Vec<Lane>,
    reports: queue::Receiver<JobDone>,
    /// Empty batches, and the channel in whose queue each has its place; the channel that has been
    /// idle the longest comes first.
    idle: VecDeque<(ChannelId, Batch)>,
    /// How many channels have not sent the last SYNC yet, or are not set up yet.
    unsynced: usize,
    /// How long the destination may take nothing while it is waited for.
    time_limit: Duration,
    /// While this is so it may take nothing for longer.
    excused: Excuse,
    /// What chooses rungs for the channels, if they are chosen.
    steering: Option<Steering>,
}

/// Whether there is a good reason why the destination takes nothing.
pub(super) struct Excuse(pub(super) Box<dyn Fn() -> bool + Send>);

impl std::fmt::Debug for Excuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Excuse")
    }
}

#[derive(Debug)]
struct Lane {
    jobs: queue::Sender<Job>,
    counters: Arc<Counters>,
}

/// Batches that a channel has: one being sent, one waiting, so that it never waits for the host's
/// thread to fill the next.
const BATCHES_PER_CHANNEL: usize = 2;

/// Room in a channel's queue: for its batches and one SYNC, so that putting one there never blocks.
const QUEUE_LEN: usize = BATCHES_PER_CHANNEL + 1;

impl Lanes {
    /// Starts a thread for each connection and waits until all are set up.
    pub(super) fn start(
        config: &SenderConfig,
        memory: &GuestMemory,
        method: &Arc<dyn MultifdMethods>,
        connections: Vec<Box<dyn Transport>>,
        (control, threads): (&Arc<Control>, &ThreadGroup),
    ) -> Result<Self, Error> {
        let channels = channel_count(connections.len());
        let channels = channels.map_err(|error| error.at(Place::on(Side::Source)))?;
        let count = channels.count();
        let (report, reports) = queue::bounded(QUEUE_LEN * count);
        let start = ChannelStart::new(config.uuid, method, &config.threads, &config.limits)
            .adapting(config.adapt, count);
        let steering = start.steering.clone();
        let mut lanes = Vec::with_capacity(count);
        for (channel, transport) in channels.ids().zip(connections) {
            control.watch(transport.interrupter());
            let (jobs, queue) = queue::bounded(QUEUE_LEN);
            let counters = Arc::new(Counters::default());
            lanes.push(Lane {
                jobs,
                counters: Arc::clone(&counters),
            });
            let thread = SenderThread {
                channel,
                start: start.clone(),
                zero_pages: config.zero_pages,
                counters,
                memory: memory.clone(),
                jobs: queue,
                reports: report.clone(),
                control: Arc::clone(control),
            };
            let guard = threads.guard().ok_or_else(|| control.reason())?;
            let body = Box::new(move || {
                let _guard = guard;
                thread.run(transport);
            });
            config
                .threads
                .spawn(ThreadKind::Send(channel), body)
                .map_err(|error| {
                    let what = format!("cannot start the channel's thread: {error}");
                    caller(what).at(Place::default().channel(channel))
                })?;
        }
        // A host that drops a thread's body is found by that.
        drop(report);
        let idle = VecDeque::with_capacity(BATCHES_PER_CHANNEL * count);
        let control = Arc::clone(control);
        let mut lanes = Self {
            control,
            channels,
            lanes,
            reports,
            idle,
            unsynced: count,
            time_limit: config.limits.destination,
            excused: Excuse(Box::new(|| false)),
            steering,
        };
        lanes.wait_set_up(config.limits.set_up)?;
        for _ in 0..BATCHES_PER_CHANNEL {
            let batch = |channel| (channel, Batch::new(memory.page_size()));
            lanes.idle.extend(channels.ids().map(batch));
        }
        Ok(lanes)
    }

    /// From now on the destination may take nothing for longer while `excused`.
    pub(super) fn set_excuse(&mut self, excused: Excuse) {
        self.excused = excused;
    }

    /// What chooses rungs for the channels, if they are chosen.
    pub(super) fn steering(&self) -> Option<&Steering> {
        self.steering.as_ref()
    }

    /// An empty batch of a channel that can take it; waits for one.
    pub(super) fn idle_batch(&mut self) -> Result<(ChannelId, Batch), Error> {
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

    /// Gives a channel a job, for which there is room in its queue.
    pub(super) fn give(&self, channel: ChannelId, job: Job) -> Result<(), Error> {
        if let Some(error) = self.control.error() {
            return Err(error);
        }
        let lane = self
            .lanes
            .get(channel.index())
            .ok_or_else(|| caller("no such channel"))?;
        lane.jobs.send(job).map_err(|_| self.control.reason())
    }

    /// Gives every channel a SYNC, once all have sent the one before.
    pub(super) fn give_sync(&mut self) -> Result<(), Error> {
        self.wait_synced()?;
        self.unsynced = self.channels.count();
        self.channels
            .ids()
            .try_for_each(|channel| self.give(channel, Job::Sync))
    }

    /// Waits until everything that was given has been sent.
    pub(super) fn wait_sent(&mut self) -> Result<(), Error> {
        self.wait_synced()?;
        while self.busy_batches() > 0 {
            self.wait_report()?;
        }
        Ok(())
    }

    /// How many batches are queued or being sent.
    pub(super) fn busy_batches(&self) -> usize {
        BATCHES_PER_CHANNEL * self.channels.count() - self.idle.len()
    }

    /// Each channel's counters.
    pub(super) fn counters(&self) -> Vec<Arc<Counters>> {
        self.lanes
            .iter()
            .map(|lane| Arc::clone(&lane.counters))
            .collect()
    }

    /// Waits until the method is set up on all channels, and their initial packets are sent: each reports that
    /// like a first SYNC.
    fn wait_set_up(&mut self, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(limit);
        let deadline = deadline.map_or_else(queue::never, queue::at);
        while self.unsynced > 0 {
            select_biased! {
                recv(self.control.woken()) -> _ => return Err(self.control.reason()),
                recv(self.reports) -> report => match report {
                    Ok(report) => self.take(report),
                    Err(_) => return Err(at_source(dropped(&self.control))),
                },
                recv(deadline) -> _ => {
                    return Err(at_source(not_set_up(self.unsynced, limit)));
                }
            }
        }
        Ok(())
    }

    fn wait_synced(&mut self) -> Result<(), Error> {
        while self.unsynced > 0 {
            self.wait_report()?;
        }
        Ok(())
    }

    /// Waits for a channel, as long as any of them gets something sent.
    fn wait_report(&mut self) -> Result<(), Error> {
        let mut stall = Stall::new(self.time_limit);
        let mut left = stall.restart();
        loop {
            let report = select_biased! {
                recv(self.control.woken()) -> _ => return Err(self.control.reason()),
                recv(self.reports) -> report => report.map_err(|_| self.control.reason())?,
                default(left) => {
                    left = match stall.left(self.wire_bytes()) {
                        None if (self.excused.0)() => stall.restart(),
                        left => left.ok_or_else(|| self.stalled())?,
                    };
                    continue;
                }
            };
            self.take(report);
            return Ok(());
        }
    }

    fn wire_bytes(&self) -> u64 {
        let lanes = self.lanes.iter();
        lanes.map(|lane| lane.counters.wire_bytes()).sum()
    }

    fn stalled(&self) -> Error {
        let seconds = self.time_limit.as_secs_f32();
        let what = format!("the destination has read nothing for {seconds} s");
        let error = Error::new(Fault::Connection, what).at(Place::on(Side::Source));
        self.control.fail(error.clone());
        error
    }

    fn take(&mut self, report: JobDone) {
        match report {
            JobDone::Sent(channel, batch) => self.idle.push_back((channel, batch)),
            JobDone::Synced => self.unsynced = self.unsynced.saturating_sub(1),
        }
    }
}

/// A mistake of the host's.
pub(super) fn caller(what: impl Into<String>) -> Error {
    at_source(Error::new(Fault::Caller, what.into()))
}

fn at_source(error: Error) -> Error {
    error.at(Place::on(Side::Source))
}
