//! Something that many wait for, and that happens once.

use std::convert::Infallible;

use crossbeam_channel as queue;
use parking_lot::Mutex;

/// Closed until it is opened, once for all.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Nothing is ever sent: dropping it is what opens the gate.
    closed: Mutex<Option<queue::Sender<Infallible>>>,
    opened: queue::Receiver<Infallible>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (closed, opened) = queue::bounded(1);
        Self {
            closed: Mutex::new(Some(closed)),
            opened,
        }
    }

    pub(crate) fn open(&self) {
        *self.closed.lock() = None;
    }

    /// Closed once the gate is open: to be selected on.
    pub(crate) fn opened(&self) -> &queue::Receiver<Infallible> {
        &self.opened
    }
}
