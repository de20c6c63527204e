// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side: members of at most 64 KiB of pages, as hardware takes them.

use multifd_core::pages::PageCopy;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::{
    Deflate, Encoder, Level, PIECE, Stream, compressible_runs, store, stored_len,
};

use crate::member::NAME;
use crate::member::{Lengths, MAX_CONTENT, QZ_HEADER_LEN, TRAILER_LEN, trailer};

/// State of one sending channel.
pub(crate) struct QatzipSend {
    encoder: Encoder,
    /// The pages of a packet, copied so that they hold still.
    content: PageCopy,
    /// The members.
    members: Vec<u8>,
}

impl QatzipSend {
    pub(crate) fn new(setup: &ChannelSetup, level: Level, deflate: &Deflate) -> Self {
        // As if every piece was a member of its own: fewer and longer ones add less.
        let longest = QZ_HEADER_LEN + stored_len(PIECE) + TRAILER_LEN;
        let content = PageCopy::new(setup.packet_bytes());
        Self {
            encoder: deflate.encoder(level, MAX_CONTENT),
            members: vec![0; content.capacity() / PIECE * longest],
            content,
        }
    }
}

impl SendMethod for QatzipSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let content = self.content.fill(pages);
        let mut done = 0;
        for run in compressible_runs(content) {
            for content in run.bytes.chunks(MAX_CONTENT) {
                let room = self.members.get_mut(done..).unwrap_or_default();
                let encoder = run.compressible.then_some(&mut self.encoder);
                done += write_member(encoder, content, room)
                    .ok_or_else(|| MethodError::device(NAME, "a member longer than it can be"))?;
            }
        }
        out.push(self.members.get(..done).unwrap_or_default());
        Ok(())
    }
}

/// Writes one member to the front of `room` and returns its length; stored without an encoder, and if
/// that is shorter.
fn write_member(encoder: Option<&mut Encoder>, content: &[u8], room: &mut [u8]) -> Option<usize> {
    let (header, rest) = room.split_at_mut_checked(QZ_HEADER_LEN)?;
    let shorter = rest.get_mut(..stored_len(content.len()))?;
    let deflate = match encoder.and_then(|encoder| encoder.encode(content, shorter)) {
        Some(length) => length,
        None => store(content, rest, Stream::Ends)?,
    };
    let lengths = Lengths {
        content: content.len().try_into().ok()?,
        deflate: deflate.try_into().ok()?,
    };
    header.copy_from_slice(&lengths.header());
    rest.get_mut(deflate..)?
        .get_mut(..TRAILER_LEN)?
        .copy_from_slice(&trailer(content));
    Some(QZ_HEADER_LEN + deflate + TRAILER_LEN)
}
