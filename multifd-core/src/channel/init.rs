//! The first bytes of a connection.

use std::time::Duration;

use super::{Counters, connection_error, wire_error};
use crate::error::{Error, Fault};
use crate::transport::{Transport, recv_all, send_all};
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
/// a multifd channel. No call may block for longer than `limit`.
pub(crate) fn recv_prelude(
    transport: &mut dyn Transport,
    limit: Duration,
) -> Result<Prelude, Error> {
    transport.set_time_limit(Some(limit));
    let mut magic = [0; 4];
    recv_start(transport, &mut magic)?;
    let prelude = match u32::from_be_bytes(magic) {
        MAIN_MAGIC => Prelude::Main,
        MULTIFD_MAGIC => {
            let mut bytes = [0; INIT_PACKET_LEN];
            let (start, rest) = bytes.split_at_mut(magic.len());
            start.copy_from_slice(&magic);
            recv_start(transport, rest)?;
            Prelude::Channel(InitPacket::decode(&bytes).map_err(wire_error)?)
        }
        got => return Err(wire_error(WireError::Magic { got })),
    };
    transport.set_time_limit(None);
    Ok(prelude)
}

fn recv_start(transport: &mut dyn Transport, room: &mut [u8]) -> Result<(), Error> {
    if recv_all(transport, &mut [room.into()]).map_err(connection_error)? {
        return Ok(());
    }
    Err(Error::new(
        Fault::Connection,
        "the peer closed the connection before its initial packet",
    ))
}
