// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections that are of no migration.

use std::fmt::Display;

use crate::net::peer::Peer;
use crate::show::log::SERVICE;

/// Counts those that were closed, and names them; of many, ever fewer.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    count: u64,
}

impl TurnedAway {
    /// A connection of `peer` was closed.
    pub(super) fn add(&mut self, peer: Peer, why: impl Display) {
        self.count += 1;
        let count = self.count;
        let text = format_args!(
            "a connection of {peer} was closed: {why} ({count} of no migration so far)"
        );
        // Whoever knocks without end does not fill the log.
        match count.is_power_of_two() {
            true => log::warn!(target: SERVICE, "{text}"),
            false => log::debug!("{text}"),
        }
    }
}
