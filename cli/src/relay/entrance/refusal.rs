// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Connections of a source that cannot become a migration.

use multifd_core::wire::Uuid;

use crate::net::peer::Peer;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Connections that were closed.
#[derive(Debug)]
pub(in crate::relay) struct Refusal {
    /// The guest, unless there are no channels that name it.
    pub(in crate::relay) uuid: Option<Uuid>,
    pub(in crate::relay) peer: Peer,
    pub(in crate::relay) why: Why,
    /// Whether a main connection has spoken, so that this is more than somebody who knocks.
    pub(in crate::relay) is_source: bool,
}

/// Why connections are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::relay) enum Why {
    #[error(
        "the source has multifd off: it sends over its main connection, and has made no channel"
    )]
    NoChannels,
    #[error("the source has made {got} of {want} channels")]
    Missing { got: usize, want: usize },
    #[error(
        "it has made channel {number}, where there are to be {want} channels: set multifd-channels to the same number on both sides"
    )]
    Surplus { number: u8, want: usize },
    #[error("the source has made all channels, but no main connection")]
    NoMain,
    #[error("guests began at once, and nothing tells which main connection is of which")]
    InDoubt,
}

impl Refusal {
    /// What the user is told.
    pub(in crate::relay) fn failure(&self) -> Failure {
        let what = format!("relay, source side: from {}: {}", self.peer, self.why);
        let failure = Failure::new(ExitCode::Peer, what);
        match self.why {
            Why::NoChannels => failure.hint(
                "switch multifd on at the source (HMP: migrate_set_capability multifd on; virsh migrate: --parallel)",
            ),
            Why::Missing { got: number, .. } => failure.hint(channels(number)),
            Why::Surplus { .. } => failure.hint(
                "set --in multifd-channels to the number of channels that the source makes",
            ),
            Why::InDoubt => failure.hint(
                "start them one after the other, or switch the capability validate-uuid on at the sources",
            ),
            Why::NoMain => failure,
        }
    }
}

fn channels(number: usize) -> String {
    format!("if the source is set to {number}, set --in multifd-channels={number}")
}
