// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The thread of one sending channel of a relay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::{self as queue, select_biased};

use super::channel::ParcelChannel;
use super::exchange::Exchange;
use super::parcel::Parcel;
use super::rounds::RoundReached;
use crate::channel::Counters;
use crate::engine::channel_start::ChannelStart;
use crate::engine::spawn::PanicGuard;
use crate::error::{Error, Place, Side};
use crate::geometry::ChannelId;
use crate::method::ThreadKind;
use crate::transport::Transport;

/// All that the thread takes with it, but the connection.
pub(super) struct SendThread {
    pub(super) channel: ChannelId,
    pub(super) start: ChannelStart,
    /// The destination knows zero pages in packets.
    pub(super) zero_pages: bool,
    pub(super) counters: Arc<Counters>,
    pub(super) exchange: Arc<Exchange>,
    /// Has a message when there may be a barrier to send.
    pub(super) wake: queue::Receiver<()>,
    /// Hears that the channel is set up, and of each SYNC that it has sent.
    pub(super) report: queue::Sender<RoundReached>,
}

/// The channel, and how far it is.
struct Outgoing<'a> {
    thread: &'a SendThread,
    channel: ParcelChannel<'a>,
    /// How many SYNC packets it has sent.
    round: u64,
    wire_bytes: u64,
}

impl SendThread {
    /// Runs until the migration is over; the first error of any channel ends all.
    pub(super) fn run(self, mut connection: Box<dyn Transport>) {
        let place = Place::on(Side::RelayOut).channel(self.channel);
        let control = &*self.exchange.control;
        let _panic = PanicGuard(control);
        match self.send(&mut *connection) {
            Ok(()) => self.start.say_end(control, &mut *connection),
            Err(error) => control.fail(error.at(place)),
        }
    }

    fn send(&self, connection: &mut dyn Transport) -> Result<(), Error> {
        let windows = &self.exchange.windows;
        let thread = ThreadKind::Forward(self.channel);
        let (page_size, counters) = (windows.page_size(), Arc::clone(&self.counters));
        let channel = self
            .start
            .open((self.channel, thread), page_size, connection, counters)?;
        let mut outgoing = Outgoing {
            thread: self,
            channel: ParcelChannel::new(channel, windows, self.zero_pages)?,
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
            self.counters.waited_for_work(start.elapsed());
            if let Some(parcel) = parcel {
                outgoing.send(parcel)?;
            }
            outgoing.catch_up()?;
        }
    }

    fn report(&self, round: u64) {
        let report = RoundReached {
            channel: self.channel,
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
        let sent = self.thread.counters.wire_bytes();
        let bytes = sent.saturating_sub(self.wire_bytes);
        self.wire_bytes = sent;
        let start = Instant::now();
        self.thread.exchange.sent(parcel, bytes);
        self.channel.held(start.elapsed());
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
