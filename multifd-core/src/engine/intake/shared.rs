//! What the threads of an intake share.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use crossbeam_channel as queue;
use parking_lot::Mutex;

use super::arrivals::Arrivals;
use super::linger::Linger;
use crate::channel::{Counters, PageTarget};
use crate::engine::barrier::Barrier;
use crate::engine::control::{Control, Gate};
use crate::engine::limits::Limits;
use crate::error::{Place, Side};
use crate::geometry::{ChannelCount, PageSize};
use crate::method::MultifdMethods;
use crate::method::Spawn;
use crate::transport::Transport;
use crate::wire::Uuid;

/// How an intake works.
pub(crate) struct IntakeConfig {
    /// What it calls itself in errors.
    pub(crate) side: Side,
    /// The VM's UUID; without one it is that of the first channel.
    pub(crate) uuid: Option<Uuid>,
    pub(crate) channels: ChannelCount,
    pub(crate) page_size: PageSize,
    pub(crate) limits: Limits,
    pub(crate) threads: Arc<dyn Spawn>,
}

/// What the threads of an intake share.
pub(super) struct Shared<T> {
    pub(super) config: IntakeConfig,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) uuid: KnownUuid,
    pub(super) method: Arc<dyn MultifdMethods>,
    pub(super) control: Arc<Control>,
    pub(super) barrier: Barrier,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) main: Mutex<Option<queue::Sender<Box<dyn Transport>>>>,
    /// Where the pages go.
    pub(super) target: T,
    pub(super) linger: Linger,
}

impl<T: PageTarget> Shared<T> {
    /// The main channel goes to `main`.
    pub(super) fn new(
        config: IntakeConfig,
        method: Arc<dyn MultifdMethods>,
        target: T,
        main: queue::Sender<Box<dyn Transport>>,
    ) -> Self {
        Self {
            arrivals: Arrivals::new(),
            uuid: KnownUuid::new(config.uuid),
            method,
            control: Control::new(),
            barrier: Barrier::new(Place::on(config.side), config.channels),
            counters: config.channels.ids().map(|_| Arc::default()).collect(),
            main: Mutex::new(Some(main)),
            target,
            linger: Linger::default(),
            config,
        }
    }
}

/// The UUID that all channels must have: the host's, or that of the first channel.
#[derive(Debug)]
pub(super) struct KnownUuid {
    value: OnceLock<Uuid>,
    known: Gate,
}

impl KnownUuid {
    pub(super) fn new(uuid: Option<Uuid>) -> Self {
        Self {
            value: uuid.map_or_else(OnceLock::new, OnceLock::from),
            known: Gate::new(),
        }
    }

    /// Closed once a channel has the value: to be selected on.
    pub(super) fn known(&self) -> &queue::Receiver<Infallible> {
        self.known.opened()
    }

    /// The value, if there is one yet.
    pub(super) fn value(&self) -> Option<Uuid> {
        self.value.get().copied()
    }

    /// The value; `uuid` becomes it if there is none.
    pub(super) fn or(&self, uuid: Uuid) -> Uuid {
        let value = *self.value.get_or_init(|| uuid);
        if value == uuid {
            self.known.open();
        }
        value
    }
}
