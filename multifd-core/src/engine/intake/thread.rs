// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The thread of one accepted connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrivals::Seat;
use super::linger;
use super::shared::{IntakeConfig, Shared};
use crate::channel::{
    Counters, PageTarget, Prelude, Received, RecvChannel, Stranger, recv_prelude,
};
use crate::engine::barrier::BarrierPlace;
use crate::engine::spawn::{PanicGuard, ready};
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::ChannelId;
use crate::method::{ChannelSetup, ThreadKind};
use crate::transport::{Interrupt, Transport};
use crate::wire::{InitPacket, WireError};

/// All that the thread takes with it, but the connection.
pub(super) struct IntakeThread<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T: PageTarget> IntakeThread<T> {
    /// Finds out what the connection is, and receives from it until it or the migration ends.
    pub(super) fn run(self, mut connection: Box<dyn Transport>, mut seat: Seat) {
        let shared = &*self.shared;
        let _panic = PanicGuard(&shared.control);
        if let Err(error) = ready(&*shared.config.threads, ThreadKind::Accepted) {
            return self.fail(error);
        }
        let interrupter = connection.interrupter();
        let limit = shared.config.limits.init;
        let prelude = recv_prelude(&mut *connection, limit, || seat.set_open());
        if !seat.keep() {
            return self.close(connection, &interrupter, &Stranger::CrowdedOut);
        }
        let is_known = prelude.is_ok();
        let result = match prelude {
            Ok(Prelude::Main) => match self.hand_over(connection, &seat) {
                Some(connection) => {
                    return self.close(connection, &interrupter, &Stranger::SecondMain);
                }
                None => return,
            },
            Ok(Prelude::Channel(init)) => self.receive(&mut *connection, init, &seat),
            Err(stranger) if stranger.is_interrupt() || shared.control.is_over() => Ok(None),
            Err(stranger) => Ok(Some(stranger)),
        };
        // After the end, when the connection is interrupted, this changes nothing.
        match result {
            Ok(Some(why)) if !shared.control.is_over() => {
                return self.close(connection, &interrupter, &why);
            }
            Ok(_) => {}
            Err(error) => self.fail(error),
        }
        if shared.control.error().is_some() {
            self.linger(&mut *connection, is_known);
        }
    }

    fn fail(&self, error: Error) {
        self.shared
            .control
            .fail(error.at(Place::on(self.shared.config.side)));
    }

    /// Closes a connection that is not the source's.
    fn close(
        &self,
        connection: Box<dyn Transport>,
        interrupter: &Arc<dyn Interrupt>,
        why: &Stranger,
    ) {
        self.shared.control.forget(interrupter);
        // Counted first: whoever finds it closed, and comes again, is the next one.
        self.shared.arrivals.refuse(why);
        drop(connection);
    }

    /// Gives the main channel to the host's thread. Returns it if there is one already. After a failure it
    /// is closed instead.
    fn hand_over(&self, connection: Box<dyn Transport>, seat: &Seat) -> Option<Box<dyn Transport>> {
        if self.shared.control.is_over() {
            return None;
        }
        let Some(main) = self.shared.main.lock().take() else {
            return Some(connection);
        };
        seat.set_known();
        // Fails only if the receiver is gone.
        drop(main.send(connection));
        None
    }

    /// After a failure: takes what the source still sends. The main channel is not waited for, as the source
    /// learns of the failure there.
    fn linger(&self, connection: &mut dyn Transport, is_known: bool) {
        let is_main = |connection: &mut dyn Transport| {
            let prelude = recv_prelude(connection, Duration::MAX, || ());
            matches!(prelude, Ok(Prelude::Main))
        };
        if self.shared.linger.admit(connection) && (is_known || !is_main(connection)) {
            linger::drain(connection);
        }
    }

    /// Receives from a channel. Returns why it is not the source's, if it cannot be.
    fn receive(
        &self,
        connection: &mut dyn Transport,
        init: InitPacket,
        seat: &Seat,
    ) -> Result<Option<Stranger>, Error> {
        let config = &self.shared.config;
        let peer = |error| Error::new(Fault::Peer, error);
        let uuid = self.shared.uuid.or(init.uuid);
        let channel = match init.check(uuid, config.channels) {
            Err(other @ WireError::Uuid { .. }) if takes_one_of_many(config) => {
                return Ok(Some(Stranger::InitPacket(other)));
            }
            checked => checked.map_err(peer)?,
        };
        let Some(barrier) = self.shared.barrier.take_place(channel) else {
            let twice = WireError::DuplicateChannel { got: init.channel };
            return Ok(Some(Stranger::InitPacket(twice)));
        };
        seat.set_known();
        self.receive_channel(connection, channel, &barrier)
            .map_err(|error| error.at(Place::default().channel(channel)))?;
        Ok(None)
    }

    fn receive_channel(
        &self,
        connection: &mut dyn Transport,
        channel: ChannelId,
        barrier: &BarrierPlace,
    ) -> Result<(), Error> {
        let shared = &*self.shared;
        let Some(page_size) = shared.page_size.wait(&shared.control) else {
            return Ok(());
        };
        let setup = ChannelSetup::new(channel, page_size)
            .with_threads(Arc::clone(&shared.config.threads))
            .with_accelerator_limit(shared.config.limits.accelerator);
        let method = shared
            .method
            .recv_setup(&setup)
            .map_err(|error| Error::new(error.fault(), error))?;
        let counters = self.counters(channel)?;
        let mut channel_state = RecvChannel::new(
            page_size,
            (shared.method.id(), method),
            (connection, shared.config.limits.silence),
            Arc::clone(&counters),
            shared.target.sink(page_size),
        );
        ready(&*shared.config.threads, ThreadKind::Receive(channel))?;
        loop {
            match channel_state.recv() {
                Ok(Received::Packet) => {}
                Ok(Received::Sync) => {
                    let start = Instant::now();
                    if !barrier.arrive(&shared.control) {
                        return Ok(());
                    }
                    counters.waited_for_work(start.elapsed());
                }
                Ok(Received::End) => {
                    barrier.leave();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn counters(&self, channel: ChannelId) -> Result<Arc<Counters>, Error> {
        let counters = self.shared.counters.get(channel.index());
        let counters = counters.ok_or_else(|| Error::new(Fault::Caller, "no such channel"));
        counters.map(Arc::clone)
    }
}

/// Whether another guest's channel is only a stranger. Not so in a relay, where it means that two migrations have been
/// mixed up, which is to be known at once.
fn takes_one_of_many(config: &IntakeConfig) -> bool {
    config.uuid.is_none() && config.side == Side::Destination
}
