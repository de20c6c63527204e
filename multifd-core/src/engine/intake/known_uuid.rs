//! The UUID of the VM that is migrated.

use std::convert::Infallible;
use std::sync::OnceLock;

use crossbeam_channel as queue;

use crate::engine::control::Gate;
use crate::wire::Uuid;

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
