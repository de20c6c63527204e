// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the threads of an intake share.

use std::sync::Arc;

use crossbeam_channel as queue;
use parking_lot::Mutex;

use super::arrivals::Arrivals;
use super::known::Known;
use super::linger::Linger;
use crate::channel::{Counters, PageTarget};
use crate::engine::barrier::Barrier;
use crate::engine::control::Control;
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
    /// Size of the guest's pages; without one it is [said](super::Intake::set_page_size) before the first packet is read.
    pub(crate) page_size: Option<PageSize>,
    pub(crate) limits: Limits,
    pub(crate) threads: Arc<dyn Spawn>,
}

/// What the threads of an intake share.
pub(super) struct Shared<T> {
    pub(super) config: IntakeConfig,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) uuid: Known<Uuid>,
    pub(super) page_size: Known<PageSize>,
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
            uuid: Known::new(config.uuid),
            page_size: Known::new(config.page_size),
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
