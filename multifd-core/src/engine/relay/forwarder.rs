// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Both ends of a relay.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exchange::{Bandwidths, Exchange};
use super::forwarding::Forwarding;
use super::pace::Bandwidth;
use super::sink::RelayTarget;
use crate::adapt::AdaptConfig;
use crate::channel::Monitor;
use crate::engine::channel_start::ChannelStart;
use crate::engine::control::AbortHandle;
use crate::engine::intake::{Intake, IntakeConfig, Strangers};
use crate::engine::limits::Limits;
use crate::error::{Error, Place, Side};
use crate::geometry::{ChannelCount, PageSize};
use crate::method::MultifdMethods;
use crate::method::{Spawn, StdThreads};
use crate::transport::Transport;
use crate::wire::Uuid;

/// How a [`Forwarder`] works.
#[derive(Clone)]
#[non_exhaustive]
pub struct ForwarderConfig {
    /// The VM's UUID; `None`, the default, takes whatever the source's channels say. They must all
    /// say the same, and the destination is told it.
    pub uuid: Option<Uuid>,
    /// `multifd-channels`: how many channels the source opens.
    pub channels: ChannelCount,
    /// Size of the guest's pages: 4 KiB by default. Without one it is to be [said](Forwarder::set_page_size) before the
    /// [start](Forwarder::start); until then no channel is read.
    pub page_size: Option<PageSize>,
    /// How long things are waited for. While the destination takes nothing, [`Limits::sync`] does not count.
    pub limits: Limits,
    /// The destination knows zero pages in packets, as QEMU does since 9.0: those that the source has
    /// not found are looked for, and none is sent with its content. Otherwise all pages are sent with
    /// their content, also those that the source has found to be zero. On by default.
    pub zero_pages: bool,
    /// Most bytes per second that are taken from the source's channels, all together.
    pub recv_bandwidth: Option<NonZeroU64>,
    /// Most bytes per second that are sent to the destination's channels, all together, until
    /// [`Forwarder::send_bandwidth`] is told otherwise.
    pub send_bandwidth: Option<NonZeroU64>,
    /// Choose for each packet to the destination how much to compress it; `None`, the default, keeps to what its method
    /// was opened with.
    pub adapt: Option<AdaptConfig>,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        Self {
            uuid: None,
            channels: ChannelCount::default(),
            page_size: Some(PageSize::default()),
            limits: Limits::default(),
            zero_pages: true,
            recv_bandwidth: None,
            send_bandwidth: None,
            adapt: None,
            threads: Arc::new(StdThreads),
        }
    }
}

/// Passes the pages of a migration on, from a source's channels to a destination's, without a copy of
/// the guest's memory: each side has its own method, number of channels and bandwidth.
///
/// The host accepts the source's connections and gives them to [`Self::accept`]; its thread reads the
/// main channel. [`Self::start`] takes the connections to the destination. A packet is decoded into a
/// buffer as soon as it is there and sent by the channel that is free first. Barriers are kept: what
/// came before one leaves before it, and what came behind it leaves behind it.
///
/// An error on one side ends both.
#[derive(Debug)]
pub struct Forwarder {
    config: ForwarderConfig,
    bandwidths: Bandwidths,
    intake: Intake<RelayTarget>,
}

impl Forwarder {
    /// A forwarder without connections. `method` is the one that the source uses.
    pub fn new(config: ForwarderConfig, method: Arc<dyn MultifdMethods>) -> Self {
        let intake = IntakeConfig {
            side: Side::RelayIn,
            uuid: config.uuid,
            channels: config.channels,
            page_size: config.page_size,
            limits: config.limits.clone(),
            threads: Arc::clone(&config.threads),
        };
        let target = RelayTarget::default();
        let bandwidths = Bandwidths {
            recv: Bandwidth::new(config.recv_bandwidth),
            send: Bandwidth::new(config.send_bandwidth),
        };
        Self {
            config,
            bandwidths,
            intake: Intake::new(intake, method, target),
        }
    }

    /// Takes a new connection of the source. See [`Receiver::accept`](crate::Receiver::accept).
    ///
    /// # Errors
    /// As there.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        self.intake.accept(connection)
    }

    /// Whether the source's main connection and all its channels are known.
    pub fn is_complete(&self) -> bool {
        self.intake.is_complete()
    }

    /// Waits for the source. See [`Receiver::wait_source`](crate::Receiver::wait_source).
    ///
    /// # Errors
    /// As there.
    pub fn wait_source(&self, wait: Option<Duration>) -> Result<Instant, Error> {
        self.intake.wait_source(wait)
    }

    /// Connections that were closed because they were not the source's.
    pub fn strangers(&self) -> Strangers {
        self.intake.strangers()
    }

    /// Waits for the source's main channel. See [`Receiver::wait_main`](crate::Receiver::wait_main).
    ///
    /// # Errors
    /// As there.
    pub fn wait_main(&self, limit: Duration) -> Result<Box<dyn Transport>, Error> {
        self.intake.wait_main(limit)
    }

    /// Waits until a channel of the source has said the VM's UUID, for ever as long as no connection is known, and until
    /// `limit` after the first one. Another UUID than that of the configuration fails the migration.
    ///
    /// # Errors
    /// No channel came in time, or the migration failed.
    pub fn wait_uuid(&self, limit: Duration) -> Result<Uuid, Error> {
        self.intake.wait_uuid(limit)
    }

    /// Says the size of the guest's pages, before [`Self::start`]: until then no channel is read.
    ///
    /// # Errors
    /// It is another one already.
    pub fn set_page_size(&self, page_size: PageSize) -> Result<(), Error> {
        match self.intake.set_page_size(page_size) {
            want if want == page_size => Ok(()),
            want => Err(self.intake.caller(format!(
                "a guest with pages of {page_size} bytes, wanted {want}"
            ))),
        }
    }

    /// Starts a thread for each connection to the destination; they become the channels 0, 1, ... in
    /// this order, and send their initial packets at once, with `uuid`. Returns when the method, the
    /// one that the destination uses, is set up on all of them. To be called once.
    ///
    /// # Errors
    /// No connection or more than 255; a thread cannot be started; the method cannot be set up; there
    /// is no memory for packets.
    pub fn start(
        &self,
        uuid: Uuid,
        method: &Arc<dyn MultifdMethods>,
        connections: Vec<Box<dyn Transport>>,
    ) -> Result<Forwarding<'_>, Error> {
        let control = Arc::clone(self.intake.control());
        let parcels = parcels_of(self.config.channels.count(), connections.len());
        let bandwidths = self.bandwidths.clone();
        let start = ChannelStart::new(uuid, method, &self.config.threads, &self.config.limits)
            .adapting(self.config.adapt, connections.len());
        let zero_pages = self.config.zero_pages;
        let page_size = self.intake.page_size().unwrap_or_default();
        let page_size = self.intake.set_page_size(page_size);
        Exchange::new(control, page_size, parcels, bandwidths)
            .and_then(|exchange| {
                let exchange = Arc::new(exchange);
                Forwarding::start(&self.intake, exchange, (start, zero_pages), connections)
            })
            .map_err(|error| {
                let error = error.at(Place::on(Side::RelayOut));
                self.intake.control().fail(error.clone());
                error
            })
    }

    /// After a failure: waits until the source has heard of it. See [`Receiver::settle`](crate::Receiver::settle).
    pub fn settle(&self, main: Option<Box<dyn Transport>>, limit: Duration) {
        self.intake.settle(main, limit);
    }

    /// What has been received from the source so far, to be asked from any thread.
    pub fn incoming(&self) -> Monitor {
        self.intake.monitor()
    }

    /// What the destination's channels may take, to be changed from any thread, before the [start](Self::start) or
    /// behind it.
    pub fn send_bandwidth(&self) -> Bandwidth {
        self.bandwidths.send.clone()
    }

    /// What aborts this migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.intake.abort_handle()
    }
}

/// How many packets a relay holds: one that is being received on each channel, and two for each that
/// sends, so that it never waits for the next; but no more than a bounded memory allows.
fn parcels_of(receiving: usize, sending: usize) -> usize {
    (receiving + 2 * sending).min(MOST_PACKETS)
}

/// 32 MiB of pages.
const MOST_PACKETS: usize = 64;

impl std::fmt::Debug for ForwarderConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForwarderConfig")
            .field("uuid", &self.uuid)
            .field("channels", &self.channels)
            .field("zero_pages", &self.zero_pages)
            .field("recv_bandwidth", &self.recv_bandwidth)
            .field("send_bandwidth", &self.send_bandwidth)
            .finish_non_exhaustive()
    }
}
