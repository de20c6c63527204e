//! The thread of one sending channel of a relay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::{self as queue, select_biased};

use crate::channel::{Counters, Parcel, ParcelChannel};
use crate::engine::relay::exchange::Exchange;
use crate::engine::relay::rounds::Report;
use crate::engine::sender::thread::ChannelStart;
use crate::engine::spawn::PanicGuard;
use crate::error::{Error, Place, Side};
use crate::transport::Transport;

/// All that the thread takes with it, but the connection.
pub(crate) struct OutletThread {
    pub(crate) start: ChannelStart,
    pub(crate) exchange: Arc<Exchange>,
    /// Has a message when there may be a barrier to send.
    pub(crate) wake: queue::Receiver<()>,
    /// Hears that the channel is set up, and of each SYNC that it has sent.
    pub(crate) report: queue::Sender<Report>,
}

/// The channel, and how far it is.
struct Outgoing<'a> {
    thread: &'a OutletThread,
    channel: ParcelChannel<'a>,
    /// How many SYNC packets it has sent.
    round: u64,
    wire_bytes: u64,
}

impl OutletThread {
    /// Runs until the migration is over; the first error of any channel ends all.
    pub(crate) fn run(self, mut connection: Box<dyn Transport>) {
        let place = Place::on(Side::RelayOut).channel(self.start.channel);
        let control = &*self.exchange.control;
        let _panic = PanicGuard(control);
        if let Err(error) = self.send(&mut *connection) {
            control.fail(error.at(place));
        }
    }

    fn send(&self, connection: &mut dyn Transport) -> Result<(), Error> {
        let windows = &self.exchange.windows;
        let channel = self.start.open(windows.page_size(), connection)?;
        let zero_pages = self.start.config.zero_pages;
        let mut outgoing = Outgoing {
            thread: self,
            channel: ParcelChannel::new(channel, windows, zero_pages)?,
            round: 0,
            wire_bytes: 0,
        };
        self.report(0);
        loop {
            let start = Instant::now();
            let parcel = select_biased! {
                recv(self.exchange.control.woken()) -> _ => return Ok(()),
                recv(self.exchange.full) -> parcel => parcel.ok(),
                recv(self.wake) -> _ => None,
            };
            self.counters().waited_for_work(start.elapsed());
            if let Some(parcel) = parcel {
                outgoing.send(parcel)?;
            }
            outgoing.catch_up()?;
        }
    }

    fn counters(&self) -> &Counters {
        &self.start.counters
    }

    fn report(&self, round: u64) {
        let report = Report {
            channel: self.start.channel,
            round,
            at: Instant::now(),
        };
        // If nobody listens, the migration is over.
        let _ = self.report.send(report);
    }
}

impl Outgoing<'_> {
    /// Sends a parcel, behind the barriers that were before it.
    ///
    /// Parcels of a later round come behind all of an earlier one, so those have been taken, each by
    /// a channel that sends it before its own SYNC.
    fn send(&mut self, parcel: Parcel) -> Result<(), Error> {
        while self.round < parcel.round {
            self.send_sync()?;
        }
        self.channel.send(&parcel)?;
        let sent = self.thread.counters().wire_bytes();
        let bytes = sent.saturating_sub(self.wire_bytes);
        self.wire_bytes = sent;
        self.thread.exchange.sent(parcel, bytes);
        Ok(())
    }

    /// Sends the barriers that all receiving channels have passed, behind what waits before them:
    /// everything of their rounds was handed over before the round was counted.
    fn catch_up(&mut self) -> Result<(), Error> {
        let exchange = &self.thread.exchange;
        let round = exchange.round.load(Ordering::Acquire);
        while self.round < round {
            match exchange.full.try_recv() {
                Ok(parcel) => self.send(parcel)?,
                Err(_) => self.send_sync()?,
            }
        }
        Ok(())
    }

    fn send_sync(&mut self) -> Result<(), Error> {
        self.channel.send_sync()?;
        self.round += 1;
        self.thread.report(self.round);
        Ok(())
    }
}
