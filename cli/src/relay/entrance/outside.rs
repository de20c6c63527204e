// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who waits at the entrance, for whoever asks.

use std::time::Instant;

use multifd_core::wire::Uuid;

use super::said::Said;
use crate::net::peer::Peer;

/// A connection that has no migration yet.
#[derive(Clone, Debug)]
pub(in crate::relay) struct Outside {
    pub(in crate::relay) peer: Peer,
    /// What it has said.
    pub(in crate::relay) said: &'static str,
    /// The guest, if it has named it.
    pub(in crate::relay) uuid: Option<Uuid>,
    /// Since when it has said no more than that, if that is known.
    pub(in crate::relay) since: Option<Instant>,
}

impl Outside {
    pub(super) fn new(peer: Peer, said: Said, since: Instant) -> Self {
        let (said, uuid) = match said {
            Said::Handshake => ("no-handshake", None),
            Said::Nothing => ("nothing", None),
            Said::Magic => ("main", None),
            Said::Head(uuid) => ("main-head", uuid),
            Said::Channel(init) => ("channel", Some(init.uuid)),
            Said::Other(_) => ("something-else", None),
            Said::End => ("end", None),
        };
        Self {
            peer,
            said,
            uuid,
            since: Some(since),
        }
    }

    /// All connections of a guest, which waits for its turn.
    pub(super) fn queued(peer: Peer, uuid: Uuid) -> Self {
        Self {
            peer,
            said: "all",
            uuid: Some(uuid),
            since: None,
        }
    }
}
