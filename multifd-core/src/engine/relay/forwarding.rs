// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay that has connections to a destination.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel as queue;

use super::delay::Delay;
use super::exchange::Exchange;
use super::rounds::Rounds;
use super::sink::{Onward, RelayTarget};
use super::thread::SendThread;
use crate::channel::{Counters, MigrationStats, Monitor, RoundPages};
use crate::engine::channel_start::{ChannelStart, channel_count};
use crate::engine::intake::Intake;
use crate::error::{Error, Fault, Place, Side};
use crate::memory::BlockTable;
use crate::method::ThreadKind;
use crate::transport::Transport;
use crate::wire::BlockName;

/// The running migration of a [`Forwarder`](super::Forwarder), as the thread of the main channel sees it.
#[derive(Debug)]
pub struct Forwarding<'f> {
    intake: &'f Intake<RelayTarget>,
    exchange: Arc<Exchange>,
    counters: Vec<Arc<Counters>>,
    wakers: Vec<queue::Sender<()>>,
    rounds: Rounds,
}

/// What a relay has passed on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ForwardStats {
    /// What the channels have received.
    pub incoming: MigrationStats,
    /// What the channels have sent.
    pub outgoing: MigrationStats,
    /// From the last byte of a packet received until its last byte is sent.
    pub packets: Delay,
    /// From the moment when all channels have received their SYNC, and the main channel its mark, until
    /// SYNC is sent on the last channel and the mark may follow.
    pub syncs: Delay,
}

impl<'f> Forwarding<'f> {
    /// Starts a thread for each connection to the destination. It looks for zero pages, or does not.
    pub(super) fn start(
        intake: &'f Intake<RelayTarget>,
        exchange: Arc<Exchange>,
        (start, zero_pages): (ChannelStart, bool),
        connections: Vec<Box<dyn Transport>>,
    ) -> Result<Self, Error> {
        let method = &start.method;
        log::info!("passing on {}: {}", method.name(), method.implementation());
        let channels = channel_count(connections.len())?;
        let set_up = intake.config().limits.set_up;
        let (rounds, report) = Rounds::new(channels);
        let mut forwarding = Self {
            intake,
            exchange,
            counters: Vec::with_capacity(channels.count()),
            wakers: Vec::with_capacity(channels.count()),
            rounds,
        };
        for (channel, connection) in channels.ids().zip(connections) {
            let (waker, wake) = queue::bounded(1);
            let thread = SendThread {
                channel,
                start: start.clone(),
                zero_pages,
                counters: Arc::default(),
                exchange: Arc::clone(&forwarding.exchange),
                wake,
                report: report.clone(),
            };
            forwarding.wakers.push(waker);
            forwarding
                .start_channel(thread, connection)
                .map_err(|error| error.at(Place::default().channel(channel)))?;
        }
        // A host that drops a thread's body is found by that.
        drop(report);
        let Self {
            rounds, exchange, ..
        } = &mut forwarding;
        rounds.wait_set_up(&exchange.control, set_up)?;
        Ok(forwarding)
    }

    /// Says what blocks the guest has, with their lengths in bytes, as the main channel has announced
    /// them. Pages that come before that are refused; a source sends none before its first SYNC.
    ///
    /// # Errors
    /// It was said before, two blocks have one name, a length is not a multiple of the page size, or
    /// the migration failed.
    pub fn attach(&self, blocks: Vec<(BlockName, u64)>) -> Result<(), Error> {
        let page_size = self.exchange.windows.page_size();
        let bytes = blocks
            .iter()
            .fold(0_u64, |sum, (_, len)| sum.saturating_add(*len));
        let blocks =
            BlockTable::new(page_size, blocks).map_err(|error| caller(error.to_string()))?;
        let exchange = Arc::clone(&self.exchange);
        self.exchange.control.check()?;
        let attached = self.intake.target().attach(Onward {
            blocks,
            round: RoundPages::new(bytes / page_size.bytes_u64()),
            exchange: Arc::clone(&self.exchange),
            device_state: Arc::new(move |state| Ok(exchange.pass_device_state(state)?)),
        });
        let twice = || self.intake.caller("the blocks were announced already");
        attached.then_some(()).ok_or_else(twice)
    }

    /// Meets all channels of the source at a sync point, then puts the same barrier on all channels to
    /// the destination, and waits until it is sent: only then is the main channel's mark to be passed on.
    /// A QEMU that has read the mark does nothing else until it has the barrier, and if that never
    /// comes, nothing for ever.
    ///
    /// # Errors
    /// A channel of the source makes no progress for longer than the configured limit although there is
    /// room for what it sends, or the migration failed.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.sync_beside(&|| false)
    }

    /// As [`Self::sync`], but waits no longer when the source `is_gone`. See
    /// [`Receiver::sync_beside`](crate::Receiver::sync_beside).
    ///
    /// # Errors
    /// As [`Self::sync`], and the source is gone.
    pub fn sync_beside(&mut self, is_gone: &dyn Fn() -> bool) -> Result<(), Error> {
        let exchange = &self.exchange;
        self.intake
            .meet(&|| exchange.is_full(), is_gone, &|| exchange.held())?;
        let met = Instant::now();
        self.rounds.start(met);
        // After the meeting: all pages of the round have been handed over.
        self.exchange.round.fetch_add(1, Ordering::Release);
        for waker in &self.wakers {
            // A message that is there already says the same.
            let _ = waker.try_send(());
        }
        self.rounds.wait(&self.exchange.control)
    }

    /// Says that the main channel has ended memory: a page that still comes is not passed on. See
    /// [`Receiver::end_memory`](crate::Receiver::end_memory).
    ///
    /// # Errors
    /// Pages have come behind the last barrier, or the migration failed.
    pub fn end_memory(&self) -> Result<(), Error> {
        match self.intake.target().round() {
            Some(round) => self.intake.end_pages(round),
            None => self.exchange.control.check(),
        }
    }

    /// Lets device state go on: the main channel's SWITCHOVER_START has been passed on. Until then
    /// a channel that has received some waits.
    pub fn open_switchover(&self) {
        self.exchange.open_switchover();
    }

    /// Waits until all that was received has been given to the connections: for a source that closes
    /// its connections when it has sent everything, and expects no answer. Channels of the source
    /// that are not closed within `limit` are not waited for longer.
    ///
    /// # Errors
    /// The migration failed.
    pub fn drain(&mut self, limit: Duration) -> Result<(), Error> {
        self.intake.wait_closed(limit)?;
        self.exchange.wait_empty()
    }

    /// Ends the threads and closes the channels of both sides. Returns what was passed on; after an
    /// error [`Self::stats`] does.
    ///
    /// # Errors
    /// The migration failed.
    pub fn finish(&mut self) -> Result<ForwardStats, Error> {
        self.intake.finish()?;
        Ok(self.stats())
    }

    /// What has been passed on so far.
    pub fn stats(&mut self) -> ForwardStats {
        ForwardStats {
            incoming: self.intake.stats(),
            outgoing: self.outgoing().stats(),
            packets: self.exchange.packets.read(),
            syncs: self.rounds.delays(),
        }
    }

    /// What has been sent to the destination so far, to be asked from any thread.
    pub fn outgoing(&self) -> Monitor {
        let page_size = OnceLock::from(self.exchange.windows.page_size());
        Monitor::new(self.counters.clone(), Arc::new(page_size))
    }

    /// Tells from any thread what waits here, and for how long.
    pub fn backlog(&self) -> Backlog {
        Backlog(Arc::clone(&self.exchange))
    }

    fn start_channel(
        &mut self,
        thread: SendThread,
        connection: Box<dyn Transport>,
    ) -> Result<(), Error> {
        self.counters.push(Arc::clone(&thread.counters));
        let kind = ThreadKind::Forward(thread.channel);
        self.exchange.control.watch(connection.interrupter());
        let body = Box::new(move || thread.run(connection));
        self.intake.spawn(kind, body)
    }
}

/// What waits in a relay, to be asked from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backlog(Arc<Exchange>);

impl Backlog {
    /// Packets that wait for the destination to take them, or are being taken.
    pub fn packets(&self) -> usize {
        self.0.waiting()
    }

    /// Whether the source has to wait for the destination, because there is room for nothing more.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// From the last byte of a packet received until its last byte is sent.
    pub fn delay(&self) -> Delay {
        self.0.packets.read()
    }

    /// How many barriers have been passed on to the channels.
    pub fn barriers(&self) -> u64 {
        self.0.round.load(Ordering::Acquire)
    }
}

/// A mistake of the host's.
fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into()).at(Place::on(Side::RelayOut))
}
