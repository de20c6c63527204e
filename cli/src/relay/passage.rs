// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One migration that is passed on, on a thread of its own.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use multifd_core::transport::{SocketTransport, Transport};
use multifd_core::wire::Uuid;
use multifd_core::{AbortHandle, ChannelId, Error};
use multifd_migration::stream::{AnnouncedBlock, Configuration};
use multifd_migration::{HostError, Relay, RelayHost, RelayReport};

use super::connection::Connection;
use super::plan::Plan;
use super::turn::Turn;
use crate::net::connect;
use crate::net::descriptors::Reserve;
use crate::net::listen::Waker;
use crate::net::peer::Peer;
use crate::net::room;
use crate::net::uri::Uri;
use crate::show::log::{Identity, Named};
use crate::show::progress::Total;

/// A migration, as the listening thread sees it.
pub(super) struct Passage {
    pub(super) relay: Arc<Relay>,
    pub(super) identity: Arc<Identity>,
    /// The source has said what it sends, so it has made all of its connections.
    pub(super) announced: bool,
    /// Who waits to be told whether there were more of them, and since when.
    pub(super) asking: Option<(mpsc::Sender<()>, Instant)>,
    pub(super) total: Total,
    /// All descriptors that it needs are its own.
    pub(super) has_room: bool,
}

/// What a migration tells the listening thread.
pub(super) struct Message {
    /// The migration's number.
    pub(super) number: usize,
    pub(super) news: News,
}

pub(super) enum News {
    /// It has announced its memory, and waits for an answer.
    Announced(mpsc::Sender<()>),
    /// It has ended.
    Ended(Result<Box<RelayReport>, Error>),
}

/// Where the messages go.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) waker: Waker,
}

impl Desk {
    fn tell(&self, number: usize, news: News) {
        // Nobody listens only if this process ends.
        let _ = self.messages.send(Message { number, news });
        self.waker.wake();
    }
}

impl Passage {
    /// How many connections a migration makes in this process, with second handles, once its source's are there.
    pub(super) fn connections(plan: &Plan) -> usize {
        3 + plan.config.outgoing_channels.count()
    }

    /// Starts a migration that has no connection yet, for which descriptors are in `reserve`; without it takes what there is.
    pub(super) fn start(
        identity: &Arc<Identity>,
        plan: &Arc<Plan>,
        desk: &Desk,
        reserve: Option<Reserve>,
    ) -> io::Result<Self> {
        let has_room = reserve.is_some();
        let threads = Named(Arc::clone(identity));
        let relay = Arc::new(plan.relay(&threads));
        let total = Total::default();
        let mut host = Host {
            identity: Arc::clone(identity),
            plan: Arc::clone(plan),
            desk: desk.clone(),
            abort: relay.abort_handle(),
            total: Arc::clone(&total),
            turn: None,
            reserve: reserve.unwrap_or_default(),
        };
        let running = Arc::clone(&relay);
        let run = move || {
            // A second handle of the source's main connection.
            host.reserve.release(1);
            let result = running.run(&mut host).map_err(Error::from);
            let (number, desk) = (host.identity.number, host.desk.clone());
            // Who is next finds their descriptors free.
            drop((running, host));
            desk.tell(number, News::Ended(result.map(Box::new)));
        };
        threads.start(format!("relay-{}", identity.number), run)?;
        Ok(Self {
            relay,
            identity: Arc::clone(identity),
            announced: false,
            asking: None,
            total,
            has_room,
        })
    }

    /// Whether a connection of this guest and peer may be its own: it is not known yet that all of them are there.
    pub(super) fn takes(&self, uuid: Uuid, peer: Peer) -> bool {
        let is_near = self.identity.peer.as_deref() == Some(&*peer.to_string());
        self.is_of(uuid) && is_near && !self.announced
    }

    /// Whether it is this guest's.
    pub(super) fn is_of(&self, uuid: Uuid) -> bool {
        self.identity.uuid.get() == Some(&uuid)
    }
}

impl Host {
    /// The main connection, with TLS where that is on. An abort ends the handshake.
    fn secure(
        &self,
        to: &Uri,
        connection: SocketTransport,
    ) -> Result<Box<dyn Transport>, HostError> {
        self.abort.watch(connection.interrupter());
        match self.plan.outgoing_tls.main(connection) {
            Ok(main) => Ok(Box::new(Connection::new(main))),
            Err(error) => Err(format!("no TLS session with {to}: {error}").into()),
        }
    }
}

/// What the relay asks of this command.
struct Host {
    identity: Arc<Identity>,
    plan: Arc<Plan>,
    desk: Desk,
    abort: AbortHandle,
    total: Total,
    /// While the connections are made.
    turn: Option<Turn>,
    /// For the connections that are not made yet.
    reserve: Reserve,
}

impl RelayHost for Host {
    fn connect(
        &mut self,
        uuid: Uuid,
        channel: Option<ChannelId>,
    ) -> Result<Box<dyn Transport>, HostError> {
        // The only migration of a relay learns here whose it is.
        self.identity.uuid.get_or_init(|| uuid);
        let to = &self.plan.to.for_guest(uuid);
        let failed = |error: io::Error| format!("cannot connect to {to}: {error}");
        let cancelled = || self.abort.error().is_some();
        let limit = self.plan.config.forwarder.limits.destination;
        let connect = || room::patiently(&cancelled, || connect::dial(to, limit, &cancelled));
        // Of the main connection there is a second handle.
        self.reserve.release(channel.map_or(2, |_| 1));
        let Some(channel) = channel else {
            let turn = &mut self.turn;
            let mut dial = || {
                *turn = self.plan.connecting.take(&to.to_string(), &cancelled);
                let main = connect();
                // Others need not wait for a destination that does not listen.
                main.inspect_err(|_| *turn = None)
            };
            let main = connect::patiently(self.plan.wait, &cancelled, &mut dial);
            return self.secure(to, main.map_err(failed)?);
        };
        let connection = connect().map_err(failed)?;
        if channel.index() + 1 == self.plan.config.outgoing_channels.count() {
            self.turn = None;
        }
        Ok(self.plan.outgoing_tls.channel(connection))
    }

    fn announced(
        &mut self,
        _configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<(), HostError> {
        let bytes = blocks.iter().map(|block| block.used_length).sum();
        self.total.store(bytes, Ordering::Relaxed);
        let (reply, answer) = mpsc::channel();
        self.desk.tell(self.identity.number, News::Announced(reply));
        answer.recv().map_err(|_| "the relay ends".into())
    }
}
