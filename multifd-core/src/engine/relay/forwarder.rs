//! Both ends of a relay.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{Landing, MigrationStats, Monitor};
use crate::engine::control::AbortHandle;
use crate::engine::receiver::Receiver;
use crate::engine::receiver::ReceiverConfig;
use crate::engine::relay::exchange::{Bandwidths, Exchange};
use crate::engine::relay::forwarding::Forwarding;
use crate::engine::sender::SenderConfig;
use crate::engine::spawn::{Spawn, StdThreads};
use crate::error::{Error, Fault, Place, Side};
use crate::geometry::{ChannelCount, PageSize};
use crate::method::MultifdMethods;
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
    /// Size of the guest's pages.
    pub page_size: PageSize,
    /// As [`ReceiverConfig::init_time_limit`].
    pub init_time_limit: Duration,
    /// As [`ReceiverConfig::sync_time_limit`]. Time in which the destination takes nothing does not
    /// count.
    pub sync_time_limit: Duration,
    /// The destination knows zero pages in packets, as QEMU does since 9.0: those that the source has
    /// not found are looked for, and none is sent with its content. Otherwise all pages are sent with
    /// their content, also those that the source has found to be zero. On by default.
    pub zero_pages: bool,
    /// Most bytes per second that are taken from the source's channels, all together.
    pub recv_bandwidth: Option<NonZeroU64>,
    /// Most bytes per second that are sent to the destination's channels, all together.
    pub send_bandwidth: Option<NonZeroU64>,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for ForwarderConfig {
    fn default() -> Self {
        let receiver = ReceiverConfig::default();
        Self {
            uuid: None,
            channels: receiver.channels,
            page_size: receiver.page_size,
            init_time_limit: receiver.init_time_limit,
            sync_time_limit: receiver.sync_time_limit,
            zero_pages: true,
            recv_bandwidth: None,
            send_bandwidth: None,
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
    receiver: Receiver,
}

impl Forwarder {
    /// A forwarder without connections. `method` is the one that the source uses.
    pub fn new(config: ForwarderConfig, method: Arc<dyn MultifdMethods>) -> Self {
        let receiver_config = ReceiverConfig {
            channels: config.channels,
            page_size: config.page_size,
            init_time_limit: config.init_time_limit,
            sync_time_limit: config.sync_time_limit,
            threads: Arc::clone(&config.threads),
            ..ReceiverConfig::default()
        };
        let receiver = Receiver::on(Side::RelayIn, receiver_config, config.uuid, method);
        Self { config, receiver }
    }

    /// Takes a new connection of the source. See [`Receiver::accept`].
    ///
    /// # Errors
    /// As there.
    pub fn accept(&self, connection: Box<dyn Transport>) -> Result<(), Error> {
        self.receiver.accept(connection)
    }

    /// Whether the source's main connection and all its channels have been accepted.
    pub fn is_complete(&self) -> bool {
        self.receiver.is_complete()
    }

    /// Waits for the source's main channel. See [`Receiver::wait_main`].
    ///
    /// # Errors
    /// As there.
    pub fn wait_main(&self, limit: Duration) -> Result<Box<dyn Transport>, Error> {
        self.receiver.wait_main(limit)
    }

    /// Waits until a channel of the source has said the VM's UUID. Another one than that of the configuration fails
    /// the migration.
    ///
    /// # Errors
    /// No channel came within `limit`, or the migration failed.
    pub fn wait_uuid(&self, limit: Duration) -> Result<Uuid, Error> {
        self.receiver.wait_uuid(limit)
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
        let control = Arc::clone(self.receiver.control());
        let parcels = packets_in_transit(self.config.channels.count(), connections.len());
        let bandwidths = Bandwidths {
            recv: self.config.recv_bandwidth,
            send: self.config.send_bandwidth,
        };
        let sender = SenderConfig {
            uuid,
            zero_pages: self.config.zero_pages,
            threads: Arc::clone(&self.config.threads),
            ..SenderConfig::default()
        };
        let place = Place::on(Side::RelayOut);
        Exchange::new(control, self.config.page_size, parcels, bandwidths)
            .and_then(|exchange| {
                Forwarding::start(self, &sender, Arc::new(exchange), method, connections)
            })
            .map_err(|error| {
                let error = error.at(place);
                self.receiver.control().fail(error.clone());
                error
            })
    }

    /// After a failure: waits until the source has heard of it. See [`Receiver::settle`].
    pub fn settle(&self, main: Option<Box<dyn Transport>>, limit: Duration) {
        self.receiver.settle(main, limit);
    }

    /// What has been received from the source so far, to be asked from any thread.
    pub fn incoming(&self) -> Monitor {
        self.receiver.monitor()
    }

    /// What aborts this migration from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.receiver.abort_handle()
    }

    pub(crate) fn attach(&self, landing: Landing) -> Result<(), Error> {
        self.receiver.land(landing)
    }

    /// Meets the source's channels. That they make no progress is their fault only while there is room
    /// for what they send.
    pub(crate) fn meet(&self, exchange: &Exchange) -> Result<(), Error> {
        self.receiver.meet(&|| exchange.is_full())
    }

    pub(crate) fn wait_closed(&self, limit: Duration) -> Result<(), Error> {
        self.receiver.wait_closed(limit)
    }

    pub(crate) fn spawn(&self, name: String, body: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
        self.receiver.spawn(name, body)
    }

    pub(crate) fn finish(&self) -> Result<MigrationStats, Error> {
        self.receiver.finish()
    }
}

/// How many packets a relay holds: one that is being received on each channel, and two for each that
/// sends, so that it never waits for the next; but no more than a bounded memory allows.
fn packets_in_transit(receiving: usize, sending: usize) -> usize {
    (receiving + 2 * sending).min(MOST_PACKETS)
}

/// 32 MiB of pages.
const MOST_PACKETS: usize = 64;

pub(crate) fn caller(what: impl Into<String>) -> Error {
    Error::new(Fault::Caller, what.into()).at(Place::on(Side::RelayOut))
}

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
