//! The sending side: one complete frame per packet.

use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use zstd_safe::{CCtx, CParameter};

use crate::NAME;

/// State of one sending channel.
pub(crate) struct ZstdSend {
    context: CCtx<'static>,
    /// The pages of a packet, copied so that they hold still.
    content: Vec<u8>,
    /// The frame.
    frame: Vec<u8>,
}

impl ZstdSend {
    pub(crate) fn new(setup: &ChannelSetup, level: u8) -> Result<Self, MethodError> {
        let content = vec![0; setup.packet_bytes()];
        let mut context = CCtx::try_create()
            .ok_or_else(|| MethodError::device(NAME, "no memory for a compressor"))?;
        context
            .set_parameter(CParameter::CompressionLevel(level.into()))
            .map_err(failed)?;
        let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
        // The library allocates its tables with its first frame, so that is not a packet's.
        context
            .compress2(frame.as_mut_slice(), &content)
            .map_err(failed)?;
        Ok(Self {
            context,
            content,
            frame,
        })
    }
}

impl SendMethod for ZstdSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let copied = pages.copy_to(&mut self.content);
        let content = self.content.get(..copied).unwrap_or_default();
        let len = self
            .context
            .compress2(self.frame.as_mut_slice(), content)
            .map_err(failed)?;
        out.push(self.frame.get(..len).unwrap_or_default());
        Ok(())
    }
}

/// The library failed at what cannot fail for reasons of the pages.
fn failed(code: zstd_safe::ErrorCode) -> MethodError {
    MethodError::device(NAME, zstd_safe::get_error_name(code))
}
