// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side on a device: whatever the table says is a stream, by the device, or by software where that
//! does not or cannot.

use std::ops::RangeInclusive;

use multifd_core::method::PathCounts;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use multifd_deflate::table::{PageBytes, Table, payload_limits};
use multifd_deflate::{Decoder, Deflate};

use crate::session::Session;
use crate::zlib::{NAME, Stream};

/// State of one receiving channel. Nothing in it goes from packet to packet.
#[derive(Debug)]
pub(crate) struct DeviceRecv {
    session: Session,
    decoder: Decoder,
    page_size: usize,
    payload: Vec<u8>,
    content: Vec<u8>,
}

impl DeviceRecv {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate, session: Session) -> Self {
        let page_size = setup.page_size.bytes();
        let most = *payload_limits(setup.page_size.pages_per_packet(), page_size).end();
        Self {
            session,
            decoder: deflate.decoder(),
            page_size,
            payload: vec![0; most],
            content: vec![0; setup.packet_bytes()],
        }
    }
}

impl RecvMethod for DeviceRecv {
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize> {
        payload_limits(pages, self.page_size)
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let bytes = payload
            .read_rest(&mut self.payload)
            .map_err(MethodError::payload(NAME))?;
        let table = Table::parse(bytes, pages.count(), self.page_size)
            .map_err(|error| MethodError::corrupt(NAME, error.at(), error.to_string()))?;
        let (content, _) = self.content.split_at_mut(pages.bytes());
        let decoder = &mut self.decoder;
        self.session.each(
            table.pages().zip(content.chunks_exact_mut(self.page_size)),
            |(page, _)| for_device(page),
            |(page, room), made| {
                if page.is_raw {
                    room.copy_from_slice(page.bytes);
                    return Ok(true);
                }
                decode(decoder, page.bytes, made, room)
                    .map_err(|what| MethodError::corrupt(NAME, page.at, what))
            },
        )?;
        pages.writer().write(content);
        // Only now: a payload that is wrong is the peer's fault.
        self.session.end_packet()
    }

    fn paths(&self) -> Option<PathCounts> {
        Some(self.session.counts())
    }
}

/// What the device gets of a page: the device passes over the header, so one that is wrong is none for it.
fn for_device<'p>(page: &PageBytes<'p>) -> Option<&'p [u8]> {
    (!page.is_raw && Stream::parse(page.bytes).is_ok()).then_some(page.bytes)
}

/// Fills all of `page` with the content of a stream, with what the device made of it if that is right. Returns whether
/// it is; the device does not refuse a stream for its checksum.
fn decode(
    decoder: &mut Decoder,
    bytes: &[u8],
    made: Option<&[u8]>,
    page: &mut [u8],
) -> Result<bool, String> {
    let stream = Stream::parse(bytes)?;
    match made {
        Some(made) if made.len() == page.len() && stream.is_of(made) => {
            page.copy_from_slice(made);
            Ok(true)
        }
        _ => stream.decode(decoder, page).map(|()| false),
    }
}
