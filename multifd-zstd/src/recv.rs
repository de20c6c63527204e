// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The receiving side: frames as they come, whole, in parts, or one without end.

use std::ops::RangeInclusive;

use multifd_core::geometry::MAX_PAYLOAD;
use multifd_core::{ChannelSetup, MethodError, PagesMut, Payload, RecvMethod};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use crate::format::NAME;
use crate::{in_place, raw};

/// The largest window that a peer's frame may ask for, as a power of two in bytes: 32 MiB, which is what the library takes
/// at level 20, the highest that QEMU has. A channel holds that much, so this is what a hostile peer can
/// make it hold.
pub const MAX_WINDOW_LOG: u32 = 25;

/// State of one receiving channel.
pub(crate) struct ZstdRecv {
    /// Where it is in a frame goes from packet to packet.
    context: DCtx<'static>,
    /// Whether that is between two frames.
    between_frames: bool,
    payload: Vec<u8>,
    /// The pages of a packet and one byte more, to notice a packet that holds too much.
    content: Vec<u8>,
}

impl ZstdRecv {
    pub(crate) fn new(setup: &ChannelSetup) -> Result<Self, MethodError> {
        let failed = |what: &str| MethodError::device(NAME, what);
        let mut context =
            DCtx::try_create().ok_or_else(|| failed("no memory for a decompressor"))?;
        context
            .set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))
            .map_err(|code| failed(zstd_safe::get_error_name(code)))?;
        Ok(Self {
            context,
            between_frames: true,
            payload: vec![0; MAX_PAYLOAD],
            content: vec![0; setup.packet_bytes() + 1],
        })
    }
}

impl RecvMethod for ZstdRecv {
    fn payload_limits(&self, _pages: usize) -> RangeInclusive<usize> {
        1..=MAX_PAYLOAD
    }

    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError> {
        let wrong = MethodError::payload(NAME);
        let read = match self.between_frames {
            true => raw::receive(payload, pages, &mut self.payload).map_err(&wrong)?,
            false => 0,
        };
        if read == payload.len() {
            return Ok(());
        }
        let (_, rest) = self.payload.split_at_mut(read);
        let len = read + payload.read_rest(rest).map_err(&wrong)?.len();
        let bytes = self.payload.get(..len).unwrap_or_default();
        if self.between_frames && in_place::decompress(&mut self.context, bytes, pages)? {
            return Ok(());
        }
        let (room, _) = self.content.split_at_mut(pages.bytes() + 1);
        self.between_frames = decompress(&mut self.context, bytes, room)?;
        pages
            .writer()
            .write(room.get(..pages.bytes()).unwrap_or_default());
        Ok(())
    }
}

/// Decompresses a whole payload to all of `room` but its last byte. Answers whether it ends where a frame does.
///
/// A frame that is in `payload` as a whole is decoded straight into `room`, since that has space for
/// all of it. The library takes the way over its own window for all others.
fn decompress(
    context: &mut DCtx<'_>,
    payload: &[u8],
    room: &mut [u8],
) -> Result<bool, MethodError> {
    let wanted = room.len() - 1;
    let mut input = InBuffer::around(payload);
    let mut output = OutBuffer::around(room);
    let between_frames = loop {
        let before = (input.pos(), output.pos());
        let hint = context
            .decompress_stream(&mut output, &mut input)
            .map_err(|code| {
                MethodError::corrupt(NAME, before.0, zstd_safe::get_error_name(code))
            })?;
        if output.pos() > wanted {
            let what = format!("more than the {wanted} bytes of the packet's pages");
            return Err(MethodError::corrupt(NAME, input.pos(), what));
        }
        // Inside of a frame the library may hold bytes that it has decoded but not given out.
        let ended = hint == 0 && input.pos() == payload.len();
        if ended || before == (input.pos(), output.pos()) {
            break hint == 0;
        }
    };
    if input.pos() < payload.len() {
        let what = format!("{} bytes are left over", payload.len() - input.pos());
        return Err(MethodError::corrupt(NAME, input.pos(), what));
    }
    if output.pos() < wanted {
        let what = format!(
            "{} bytes, wanted the {wanted} of the packet's pages",
            output.pos()
        );
        return Err(MethodError::corrupt(NAME, payload.len(), what));
    }
    Ok(between_frames)
}
