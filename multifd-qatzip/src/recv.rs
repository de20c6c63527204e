// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side: any sequence of gzip members.

use std::ops::RangeInclusive;

use multifd_core::geometry::MAX_PAYLOAD;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use multifd_deflate::{DecodeError, Decoded, Decoder, Deflate};

use crate::member::NAME;
use crate::member::{self, Lengths, TRAILER_LEN, trailer};

/// State of one receiving channel. Nothing in it goes from packet to packet.
pub(crate) struct QatzipRecv {
    payload: Vec<u8>,
    unpacker: Unpacker,
}

impl QatzipRecv {
    pub(crate) fn new(setup: &ChannelSetup, deflate: &Deflate) -> Self {
        Self {
            payload: vec![0; MAX_PAYLOAD],
            unpacker: Unpacker::new(setup, deflate),
        }
    }

    /// Fills the pages with what `bytes` has, a payload that somebody else has read.
    pub(crate) fn unpack(&mut self, bytes: &[u8], pages: &PagesMut<'_>) -> Result<(), MethodError> {
        self.unpacker.unpack(bytes, pages)
    }
}

impl RecvMethod for QatzipRecv {
    fn payload_limits(&self, _pages: usize) -> RangeInclusive<usize> {
        1..=MAX_PAYLOAD
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let bytes = payload
            .read_rest(&mut self.payload)
            .map_err(MethodError::payload(NAME))?;
        self.unpacker.unpack(bytes, pages)
    }
}

/// Decompresses payloads.
struct Unpacker {
    members: Members,
    content: Vec<u8>,
}

impl Unpacker {
    fn new(setup: &ChannelSetup, deflate: &Deflate) -> Self {
        Self {
            members: Members {
                decoder: deflate.decoder(),
            },
            content: vec![0; setup.packet_bytes()],
        }
    }

    /// Fills the pages with the content of the members in `bytes`.
    fn unpack(&mut self, bytes: &[u8], pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let (content, _) = self.content.split_at_mut(pages.bytes());
        let (mut at, mut done) = (0, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let room = content.get_mut(done..).unwrap_or_default();
            let (read, written) = self.members.member(rest, room, at)?;
            at += read;
            done += written;
        }
        if done < content.len() {
            let what = format!(
                "{done} bytes, wanted the {} of the packet's pages",
                content.len()
            );
            return Err(corrupt(at, what));
        }
        pages.writer().write(content);
        Ok(())
    }
}

/// Reads members.
struct Members {
    decoder: Decoder,
}

impl Members {
    /// Decompresses the member at the start of `bytes`, which is at byte `at` of the payload, to the
    /// front of `room`. Returns how many bytes it read and wrote.
    fn member(
        &mut self,
        bytes: &[u8],
        room: &mut [u8],
        at: usize,
    ) -> Result<(usize, usize), MethodError> {
        let header = member::parse(bytes).map_err(|(byte, what)| corrupt(at + byte, what))?;
        let deflate = bytes.get(header.len..).unwrap_or_default();
        let at = at + header.len;
        let Decoded { read, written } = match header.lengths {
            Some(lengths) => self.with_lengths(lengths, deflate, room, at)?,
            None => self.without_lengths(deflate, room, at)?,
        };
        let want = trailer(room.get(..written).unwrap_or_default());
        let got = deflate.get(read..).and_then(|rest| rest.get(..TRAILER_LEN));
        if got != Some(&want[..]) {
            let what = format!("a member that ends in {got:02x?}, wanted {want:02x?}");
            return Err(corrupt(at + read, what));
        }
        Ok((header.len + read + TRAILER_LEN, written))
    }

    fn with_lengths(
        &mut self,
        lengths: Lengths,
        deflate: &[u8],
        room: &mut [u8],
        at: usize,
    ) -> Result<Decoded, MethodError> {
        let (read, wanted) = (lengths.deflate as usize, lengths.content as usize);
        let missing = room.len();
        let room = room
            .get_mut(..wanted)
            .ok_or_else(|| corrupt(at, format!("a member of {wanted} bytes, wanted {missing}")))?;
        let available = deflate.len();
        let deflate = deflate
            .get(..read)
            .ok_or_else(|| corrupt(at, format!("{read} bytes of data, {available} are there")))?;
        self.decoder
            .decode_exact(deflate, room)
            .map_err(|error| not_decoded(at, &error))?;
        Ok(Decoded {
            read,
            written: wanted,
        })
    }

    fn without_lengths(
        &mut self,
        deflate: &[u8],
        room: &mut [u8],
        at: usize,
    ) -> Result<Decoded, MethodError> {
        self.decoder
            .decode(deflate, room)
            .map_err(|error| not_decoded(at, &error))
    }
}

fn not_decoded(at: usize, error: &DecodeError) -> MethodError {
    corrupt(at, error.to_string())
}

fn corrupt(at: usize, what: impl Into<String>) -> MethodError {
    MethodError::corrupt(NAME, at, what)
}
