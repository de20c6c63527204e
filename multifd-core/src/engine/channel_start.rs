// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a sending channel starts: one of a source, or of a relay.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::control::Control;
use super::limits::Limits;
use super::spawn::ready;
use crate::adapt::{AdaptConfig, Steering};
use crate::channel::{Counters, SendChannel};
use crate::error::{Error, Fault};
use crate::geometry::{ChannelCount, ChannelId, PageSize};
use crate::method::{ChannelSetup, MultifdMethods, Spawn, ThreadKind};
use crate::transport::Transport;
use crate::wire::{InitPacket, Uuid};

/// What the sending channels of a migration are made from.
#[derive(Clone)]
pub(crate) struct ChannelStart {
    pub(crate) uuid: Uuid,
    pub(crate) method: Arc<dyn MultifdMethods>,
    pub(crate) threads: Arc<dyn Spawn>,
    accelerator_limit: Duration,
    last_word: Duration,
    /// Chooses the method's rung for each packet, if it is to be chosen.
    pub(crate) steering: Option<Steering>,
    /// Numbers the packets of all channels.
    packet_num: Arc<AtomicU64>,
}

impl ChannelStart {
    pub(crate) fn new(
        uuid: Uuid,
        method: &Arc<dyn MultifdMethods>,
        threads: &Arc<dyn Spawn>,
        limits: &Limits,
    ) -> Self {
        Self {
            uuid,
            method: Arc::clone(method),
            threads: Arc::clone(threads),
            accelerator_limit: limits.accelerator,
            last_word: limits.last_word,
            steering: None,
            packet_num: Arc::default(),
        }
    }

    /// The same, with a choice for each packet, for so many channels.
    pub(crate) fn adapting(mut self, config: Option<AdaptConfig>, channels: usize) -> Self {
        self.steering =
            config.and_then(|config| Steering::new(config, self.method.ladder(), channels));
        if config.is_some() && self.steering.is_none() {
            log::warn!(
                "{} has one way to send pages, and nothing to adapt",
                self.method.name()
            );
        }
        self
    }

    /// Sets up one channel on its own thread, up to its initial packet.
    pub(crate) fn open<'m>(
        &'m self,
        (channel, thread): (ChannelId, ThreadKind),
        page_size: PageSize,
        connection: &'m mut dyn Transport,
        counters: Arc<Counters>,
    ) -> Result<SendChannel<'m>, Error> {
        let setup = ChannelSetup::new(channel, page_size)
            .with_threads(Arc::clone(&self.threads))
            .with_accelerator_limit(self.accelerator_limit)
            .with_rungs(
                self.steering
                    .as_ref()
                    .map(|steering| steering.ladder().len()),
            );
        let method = self
            .method
            .send_setup(&setup)
            .map_err(|error| Error::new(error.fault(), error))?;
        let mut opened = SendChannel::new(
            page_size,
            (self.method.id(), method),
            connection,
            &self.packet_num,
            counters,
        );
        if let Some(steering) = &self.steering {
            opened.choose_rungs(steering);
        }
        ready(&*self.threads, thread)?;
        opened.send_init(InitPacket {
            uuid: self.uuid,
            channel: channel.number(),
        })?;
        Ok(opened)
    }

    /// Tells the destination that a channel ends here, and not because it has failed. Its transport may have a word for
    /// that; QEMU from 10.0 on waits for TLS's.
    pub(crate) fn say_end(&self, control: &Control, connection: &mut dyn Transport) {
        if control.error().is_some() {
            return;
        }
        // It was interrupted with the migration's end.
        connection.resume();
        // The guest is at the destination by now: nobody should wait for long.
        connection.set_time_limit(Some(self.last_word));
        if let Err(error) = connection.finish() {
            log::debug!("the destination cannot be told that a channel ends: {error}");
        }
    }
}

/// The channels of so many connections.
///
/// # Errors
/// None, or more than a migration can have.
pub(crate) fn channel_count(connections: usize) -> Result<ChannelCount, Error> {
    let count = u8::try_from(connections).ok().and_then(ChannelCount::new);
    count.ok_or_else(|| {
        let what = format!("{connections} multifd connections, wanted 1 to 255");
        Error::new(Fault::Caller, what)
    })
}

/// The error for channels whose method is not set up within a limit.
pub(crate) fn not_set_up(channels: usize, limit: Duration) -> Error {
    let seconds = limit.as_secs_f32();
    let what = format!("the method is not set up on {channels} channels after {seconds} s");
    Error::new(Fault::Caller, what)
}

/// The error for a thread that has ended without a word.
pub(crate) fn dropped(control: &Control) -> Error {
    let what = "the host has dropped a channel's thread";
    let error = control.error();
    error.unwrap_or_else(|| Error::new(Fault::Caller, what))
}
