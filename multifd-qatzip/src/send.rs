//! The sending side: members of at most 64 KiB of pages, as hardware takes them.

use libdeflater::{CompressionLvl, Compressor};
use multifd_core::pages::{PIECE, compressible_runs};
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};

use crate::member::{Lengths, MAX_CONTENT, QZ_HEADER_LEN, TRAILER_LEN, trailer};
use crate::{NAME, stored};

/// State of one sending channel.
pub(crate) struct QatzipSend {
    compressor: Compressor,
    /// The pages of a packet, copied so that they hold still.
    content: Vec<u8>,
    /// The members.
    members: Vec<u8>,
}

impl QatzipSend {
    pub(crate) fn new(setup: &ChannelSetup, level: u8) -> Result<Self, MethodError> {
        let level = CompressionLvl::new(level.into())
            .map_err(|_| MethodError::config(NAME, format!("libdeflate has no level {level}")))?;
        let mut compressor = Compressor::new(level);
        let content = vec![0; setup.packet_bytes()];
        // As if every piece was a member of its own: fewer and longer ones add less.
        let longest = QZ_HEADER_LEN + compressor.deflate_compress_bound(PIECE) + TRAILER_LEN;
        let room = content.len() / PIECE * longest + compressor.deflate_compress_bound(MAX_CONTENT);
        Ok(Self {
            compressor,
            content,
            members: vec![0; room],
        })
    }
}

impl SendMethod for QatzipSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let copied = pages.copy_to(&mut self.content);
        let content = self.content.get(..copied).unwrap_or_default();
        let mut done = 0;
        for run in compressible_runs(content) {
            for content in run.bytes.chunks(MAX_CONTENT) {
                let room = self.members.get_mut(done..).unwrap_or_default();
                let compressor = run.compressible.then_some(&mut self.compressor);
                done += write_member(compressor, content, room)
                    .ok_or_else(|| MethodError::device(NAME, "a member longer than it can be"))?;
            }
        }
        out.push(self.members.get(..done).unwrap_or_default());
        Ok(())
    }
}

/// Writes one member to the front of `room` and answers its length; stored without a compressor.
fn write_member(
    compressor: Option<&mut Compressor>,
    content: &[u8],
    room: &mut [u8],
) -> Option<usize> {
    let (header, rest) = room.split_at_mut_checked(QZ_HEADER_LEN)?;
    let deflate = match compressor {
        Some(compressor) => compressor.deflate_compress(content, rest).ok()?,
        None => stored::write(content, rest)?,
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
