// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Packets become pages.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::device_state::DeviceState;
use super::failure::{connection_error, method_error, wire_error};
use super::other_pages;
use super::reader::PacketReader;
use super::sink::{Arrived, PageSink};
use super::stats::Counters;
use crate::error::{Error, Fault, Place};
use crate::geometry::PageSize;
use crate::method::RecvMethod;
use crate::pages::{PageRuns, Payload, PayloadSource};
use crate::transport::Transport;
use crate::wire::{
    COMMON_HEADER_LEN, DEVICE_STATE_HEADER_LEN, DeviceStateHeader, INIT_PACKET_LEN, MethodId,
    PacketFlags, PageOffsets, RamHeader, WireError, ram_header_len,
};

/// The receiving end of one channel, as its thread sees it.
pub(crate) struct RecvChannel<'t, S> {
    reader: PacketReader<'t>,
    page_size: PageSize,
    method_id: MethodId,
    method: Box<dyn RecvMethod>,
    counters: Arc<Counters>,
    /// Takes the pages.
    sink: S,
    /// Offsets of the packet's pages with payload.
    normal: Vec<u64>,
    /// Offsets of the packet's zero pages.
    zero: Vec<u64>,
    sorted: Vec<u64>,
    packets: u64,
    /// The last packet had no pages.
    was_empty: bool,
}

/// What a channel has read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A packet, which has been dealt with.
    Packet,
    /// A barrier; the packet's pages, if it had any, have been dealt with.
    Sync,
    /// The end of the stream, between two packets.
    End,
}

impl<'t, S: PageSink> RecvChannel<'t, S> {
    /// The peer may be silent inside of a packet for the time that comes with the `transport`.
    pub(crate) fn new(
        page_size: PageSize,
        (method_id, method): (MethodId, Box<dyn RecvMethod>),
        transport: (&'t mut dyn Transport, Duration),
        counters: Arc<Counters>,
        sink: S,
    ) -> Self {
        let pages = page_size.pages_per_packet();
        counters.bytes(INIT_PACKET_LEN);
        Self {
            reader: PacketReader::new(transport, ram_header_len(page_size)),
            page_size,
            method_id,
            method,
            counters,
            sink,
            normal: Vec::with_capacity(pages),
            zero: Vec::with_capacity(pages),
            sorted: Vec::with_capacity(pages),
            packets: 0,
            was_empty: false,
        }
    }

    /// Reads the next packet, whatever it is.
    pub(crate) fn recv(&mut self) -> Result<Received, Error> {
        let place = Place::default().packet(self.packets);
        let received = self.recv_packet().map_err(|error| error.at(place))?;
        self.packets += 1;
        self.counters.clocks(self.reader.waited());
        Ok(received)
    }

    fn recv_packet(&mut self) -> Result<Received, Error> {
        let common = self.reader.peek_array::<COMMON_HEADER_LEN>();
        let Some(common) = common.map_err(connection_error)? else {
            return Ok(Received::End);
        };
        if std::mem::take(&mut self.was_empty) {
            other_pages::check_next(common, self.page_size).map_err(wire_error)?;
        }
        let flags = PacketFlags::read(common).map_err(wire_error)?;
        if flags.is_device_state() {
            self.recv_device_state()?;
            return Ok(Received::Packet);
        }
        self.recv_ram()?;
        if !flags.is_sync() {
            return Ok(Received::Packet);
        }
        self.sink.sync();
        Ok(Received::Sync)
    }

    fn recv_ram(&mut self) -> Result<(), Error> {
        let header_len = ram_header_len(self.page_size);
        let header = self.reader.peek(header_len).map_err(connection_error)?;
        let header = header.ok_or_else(ended)?;
        let bytes = header;
        let header = RamHeader::decode(bytes, self.page_size)
            .map_err(|error| wire_error(other_pages::explain(error, self.page_size)))?;
        if header.is_empty() {
            other_pages::check_empty(bytes, self.page_size).map_err(wire_error)?;
            self.was_empty = true;
            let is_sync = header.flags.is_sync();
            self.reader.consume();
            self.counters.packet(0, 0, header_len);
            if !is_sync {
                self.counters.idle(header_len);
            }
            return Ok(());
        }
        let block = self.sink.find(header.block)?.ok_or_else(|| {
            let got = String::from_utf8_lossy(header.block).into_owned();
            wire_error(WireError::UnknownBlock { got })
        })?;
        self.normal.clear();
        self.normal.extend(header.normal_offsets());
        self.zero.clear();
        self.zero.extend(header.zero_offsets());
        let (flags, payload_len) = (header.flags, header.payload_len);
        self.reader.consume();
        let wire_bytes = header_len + payload_len;
        let pages = self.normal.len() + self.zero.len();
        self.check(flags, S::len(&block))
            .and_then(|()| S::count(&block, pages))
            .and_then(|()| self.take(block, payload_len, wire_bytes))
            .map_err(|error| error.at(Place::default().block(S::name(&block).as_str())))?;
        let (normal, zero) = (self.normal.len(), self.zero.len());
        self.counters.packet(normal, zero, wire_bytes);
        Ok(())
    }

    /// Has the sink take the pages of the packet.
    fn take(
        &mut self,
        block: S::Block,
        payload_len: usize,
        wire_bytes: usize,
    ) -> Result<(), Error> {
        let Self {
            reader,
            method,
            counters,
            sink,
            ..
        } = self;
        let mut payload = |runs: &mut PageRuns<'_>| {
            recv_payload(&mut **method, reader, payload_len, runs)?;
            counters.path(method.paths());
            Ok(())
        };
        let pages = PageOffsets {
            normal: &self.normal,
            zero: &self.zero,
        };
        sink.take(
            block,
            Arrived {
                pages,
                wire_bytes,
                payload: &mut payload,
            },
        )?;
        self.counters.waited_for_room(self.sink.waited());
        Ok(())
    }

    /// The method is this side's, every page of the packet is a whole page of a block of `block_len`
    /// bytes, and no page is listed twice.
    fn check(&mut self, flags: PacketFlags, block_len: u64) -> Result<(), Error> {
        let got = flags.method();
        if got != self.method_id {
            let want = self.method_id;
            return Err(wire_error(WireError::Method { got, want }));
        }
        let page = self.page_size.bytes_u64();
        for offset in self.normal.iter().chain(&self.zero) {
            if !self.page_size.is_aligned(*offset) {
                let error = WireError::Unaligned {
                    got: *offset,
                    page_size: self.page_size,
                };
                return Err(wire_error(error).at(Place::default().offset(*offset)));
            }
            if offset.checked_add(page).is_none_or(|end| end > block_len) {
                return Err(outside(block_len, *offset));
            }
        }
        let offsets = self.normal.iter().chain(&self.zero);
        if offsets.is_sorted_by(|one, next| one < next) {
            return Ok(());
        }
        self.sorted.clear();
        self.sorted.extend(self.normal.iter().chain(&self.zero));
        self.sorted.sort_unstable();
        let twice = self.sorted.windows(2).find_map(|pair| match pair {
            [one, next] if one == next => Some(*one),
            _ => None,
        });
        match twice {
            Some(got) => Err(wire_error(WireError::DuplicatePage { got })),
            None => Ok(()),
        }
    }

    fn recv_device_state(&mut self) -> Result<(), Error> {
        let header = self.reader.peek_array::<DEVICE_STATE_HEADER_LEN>();
        let header = header.map_err(connection_error)?.ok_or_else(ended)?;
        let header = DeviceStateHeader::decode(header).map_err(wire_error)?;
        let idstr = String::from_utf8(header.idstr.to_vec()).map_err(|error| {
            let got = error.as_bytes().escape_ascii().to_string();
            wire_error(WireError::DeviceName { got })
        })?;
        let (instance_id, len) = (header.instance_id, header.payload_len as usize);
        self.reader.consume();
        let Some(sink) = self.sink.device_state() else {
            return Err(wire_error(WireError::UnexpectedDeviceState { idstr }));
        };
        self.sink.admit_device_state(len)?;
        let mut data = vec![0; len];
        self.reader
            .fill(&mut [data.as_mut_slice().into()])
            .map_err(connection_error)?;
        sink(DeviceState {
            idstr,
            instance_id,
            data,
        })
        .map_err(|error| match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error::new(Fault::Caller, error),
        })?;
        self.counters.packet(0, 0, DEVICE_STATE_HEADER_LEN + len);
        Ok(())
    }
}

/// Lets the method read a payload that has a size it can have, all of it.
fn recv_payload(
    method: &mut dyn RecvMethod,
    reader: &mut PacketReader<'_>,
    payload_len: usize,
    runs: &mut PageRuns<'_>,
) -> Result<(), Error> {
    let pages = runs.pages().count();
    let limits = method.payload_limits(pages);
    if !limits.contains(&payload_len) {
        return Err(wire_error(WireError::PayloadSize {
            got: payload_len,
            pages,
            min: *limits.start(),
            max: *limits.end(),
        }));
    }
    let mut payload = Payload::new(reader, payload_len);
    method
        .recv(&mut payload, &runs.pages_mut())
        .map_err(method_error)?;
    if payload.remaining() > 0 {
        let what = format!(
            "{} of {} payload bytes are left after the last page",
            payload.remaining(),
            payload.len()
        );
        return Err(Error::new(Fault::Peer, what));
    }
    Ok(())
}

/// The stream ends in a packet that has begun.
fn ended() -> Error {
    connection_error(io::ErrorKind::UnexpectedEof.into())
}

pub(super) fn outside(block_len: u64, offset: u64) -> Error {
    wire_error(WireError::OutOfBlock {
        got: offset,
        block_len,
    })
    .at(Place::default().offset(offset))
}
