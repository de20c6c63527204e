//! Connections that are accepted: what a receiver and a relay have in common.
//! May import the ground: `control`, `spawn`, `barrier`.

pub(super) mod gate;
pub(super) mod known_uuid;
pub(super) mod linger;
pub(super) mod thread;
