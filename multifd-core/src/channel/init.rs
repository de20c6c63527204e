// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The first bytes of a connection.

use std::time::{Duration, Instant};

use super::failure::{connection_error, received_too_many};
use super::stats::Counters;
use super::stranger::Stranger;
use crate::error::Error;
use crate::transport::{Transport, send_all};
use crate::wire::{INIT_PACKET_LEN, InitPacket, MAIN_MAGIC, MULTIFD_MAGIC};

/// What a new connection turns out to be.
#[derive(Debug)]
pub(crate) enum Prelude {
    /// The main channel; its first four bytes, the magic, have been read.
    Main,
    /// A multifd channel.
    Channel(InitPacket),
}

/// Sends the initial packet.
pub(crate) fn send_init(
    transport: &mut dyn Transport,
    packet: InitPacket,
    counters: &Counters,
) -> Result<(), Error> {
    let bytes = packet.encode();
    send_all(transport, &mut [bytes.as_slice().into()]).map_err(connection_error)?;
    counters.bytes(bytes.len());
    Ok(())
}

/// Reads the first bytes of a connection: four of the main channel, or the whole initial packet of
/// a multifd channel. All of them must come within `limit`. Says when the transport is open, which may take a part of it.
///
/// # Errors
/// It is no connection of a migration, as far as it has shown.
pub(crate) fn recv_prelude(
    transport: &mut dyn Transport,
    limit: Duration,
    opened: impl FnOnce(),
) -> Result<Prelude, Stranger> {
    // A limit that no clock reaches is none.
    let deadline = Instant::now().checked_add(limit);
    transport.set_time_limit(deadline.map(|_| limit));
    let open = transport.open();
    open.map_err(|error| Stranger::broken(&error, 0, limit))?;
    opened();
    let mut magic = [0; 4];
    let mut start = Start {
        transport,
        limit,
        deadline,
        got: 0,
    };
    start.recv(&mut magic)?;
    let prelude = match u32::from_be_bytes(magic) {
        MAIN_MAGIC => Prelude::Main,
        MULTIFD_MAGIC => {
            let mut bytes = [0; INIT_PACKET_LEN];
            let (front, rest) = bytes.split_at_mut(magic.len());
            front.copy_from_slice(&magic);
            start.recv(rest)?;
            Prelude::Channel(InitPacket::decode(&bytes).map_err(Stranger::InitPacket)?)
        }
        _ => return Err(Stranger::Start(magic)),
    };
    transport.set_time_limit(None);
    Ok(prelude)
}

/// The start of a connection, as far as it has come.
struct Start<'t> {
    transport: &'t mut dyn Transport,
    limit: Duration,
    deadline: Option<Instant>,
    got: usize,
}

impl Start<'_> {
    /// Fills all of `room`, however slowly the bytes come, until the deadline.
    fn recv(&mut self, room: &mut [u8]) -> Result<(), Stranger> {
        let limit = self.limit;
        let mut rest = room;
        while !rest.is_empty() {
            let got = self.got;
            let now = Instant::now();
            let left = self.deadline.map(|end| end.saturating_duration_since(now));
            if left == Some(Duration::ZERO) {
                return Err(Stranger::Silent { got, limit });
            }
            self.transport.set_time_limit(left);
            let received = self.transport.recv(&mut [(&mut *rest).into()]);
            let broken = |error| Stranger::broken(&error, got, limit);
            match received.map_err(broken)? {
                0 => return Err(Stranger::Closed { got }),
                count => {
                    let left = rest.get_mut(count..);
                    rest = left.ok_or_else(|| broken(received_too_many(count)))?;
                    self.got += count;
                }
            }
        }
        Ok(())
    }
}
