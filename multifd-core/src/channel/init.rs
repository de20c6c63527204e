//! The first bytes of a connection.

use std::io;
use std::time::{Duration, Instant};

use super::failure::{connection_error, received_too_many, wire_error};
use super::stats::Counters;
use crate::error::{Error, Fault};
use crate::transport::{Transport, send_all};
use crate::wire::{INIT_PACKET_LEN, InitPacket, MAIN_MAGIC, MULTIFD_MAGIC, WireError};

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
/// a multifd channel. All of them must come within `limit`.
pub(crate) fn recv_prelude(
    transport: &mut dyn Transport,
    limit: Duration,
) -> Result<Prelude, Error> {
    // A limit that no clock reaches is none.
    let deadline = Instant::now().checked_add(limit);
    let mut magic = [0; 4];
    recv_start(transport, &mut magic, deadline)?;
    let prelude = match u32::from_be_bytes(magic) {
        MAIN_MAGIC => Prelude::Main,
        MULTIFD_MAGIC => {
            let mut bytes = [0; INIT_PACKET_LEN];
            let (start, rest) = bytes.split_at_mut(magic.len());
            start.copy_from_slice(&magic);
            recv_start(transport, rest, deadline)?;
            Prelude::Channel(InitPacket::decode(&bytes).map_err(wire_error)?)
        }
        got => return Err(wire_error(WireError::Magic { got })),
    };
    transport.set_time_limit(None);
    Ok(prelude)
}

/// Fills all of `room`, however slowly the bytes come, until `deadline`.
fn recv_start(
    transport: &mut dyn Transport,
    room: &mut [u8],
    deadline: Option<Instant>,
) -> Result<(), Error> {
    let mut rest = room;
    while !rest.is_empty() {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(connection_error(io::ErrorKind::TimedOut.into()));
        }
        transport.set_time_limit(left);
        let received = transport.recv(&mut [(&mut *rest).into()]);
        match received.map_err(connection_error)? {
            0 => {
                let what = "the peer closed the connection before the end of its initial packet";
                return Err(Error::new(Fault::Connection, what));
            }
            count => {
                let left = rest.get_mut(count..);
                rest = left.ok_or_else(|| connection_error(received_too_many(count)))?;
            }
        }
    }
    Ok(())
}
