// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side: a stream whose packets do not refer to each other.

use flate2::{Compress, Compression, FlushCompress};
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::zlib_header::header;
use multifd_deflate::{Stream, compressible_runs, store, stored_len};

use crate::format::{FLUSH, NAME};

/// State of one sending channel.
pub(crate) struct ZlibSend {
    level: u8,
    /// Makes deflate data without header and trailer.
    compressor: Compress,
    /// Whether the stream's header has been made.
    started: bool,
    /// The pages of a packet, copied so that they hold still.
    content: Vec<u8>,
    stream: Vec<u8>,
}

impl ZlibSend {
    pub(crate) fn new(setup: &ChannelSetup, level: u8) -> Self {
        Self {
            level,
            compressor: Compress::new(Compression::new(level.into()), false),
            started: false,
            content: vec![0; setup.packet_bytes()],
            // Deflate makes no more than 9 bits of a byte, before it is found to be better stored.
            stream: vec![0; 2 * setup.packet_bytes()],
        }
    }
}

impl SendMethod for ZlibSend {
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let copied = pages.copy_to(&mut self.content);
        let content = self.content.get(..copied).unwrap_or_default();
        let mut writer = Writer {
            compressor: &mut self.compressor,
            stream: &mut self.stream,
            done: 0,
            flushed: true,
        };
        let written = (|| {
            if !self.started {
                writer.push(&header(self.level))?;
            }
            for run in compressible_runs(content) {
                let compress = run.compressible && self.level > 0;
                if !compress || !writer.compress(run.bytes)? {
                    writer.store(run.bytes)?;
                }
            }
            writer.flush()
        })();
        let done = written.ok_or_else(|| MethodError::device(NAME, "deflate failed"))?;
        self.started = true;
        out.push(self.stream.get(..done).unwrap_or_default());
        Ok(())
    }
}

/// Adds to the stream of one packet. `None` is no room, which there always is, or a compressor that
/// does not take all that it is given.
struct Writer<'s> {
    compressor: &'s mut Compress,
    stream: &'s mut [u8],
    done: usize,
    /// Whether the stream ends in a flush.
    flushed: bool,
}

impl Writer<'_> {
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let room = self.stream.get_mut(self.done..)?.get_mut(..bytes.len())?;
        room.copy_from_slice(bytes);
        self.done += bytes.len();
        Some(())
    }

    /// Compresses `content` with a window that starts empty, so that what is before it does not
    /// matter. Answers whether it became smaller; if not, nothing is added.
    fn compress(&mut self, content: &[u8]) -> Option<bool> {
        let room = self.stream.get_mut(self.done..)?;
        self.compressor.reset();
        self.compressor
            .compress(content, room, FlushCompress::Sync)
            .ok()?;
        let made = usize::try_from(self.compressor.total_out()).ok()?;
        if self.compressor.total_in() != content.len() as u64 || made == room.len() {
            return None;
        }
        let smaller = made < stored_len(content.len());
        if smaller {
            self.done += made;
            self.flushed = true;
        }
        Some(smaller)
    }

    fn store(&mut self, content: &[u8]) -> Option<()> {
        self.done += store(content, self.stream.get_mut(self.done..)?, Stream::GoesOn)?;
        self.flushed = false;
        Some(())
    }

    /// Ends the packet, and answers how long it is.
    fn flush(mut self) -> Option<usize> {
        if !self.flushed {
            self.push(&FLUSH)?;
        }
        Some(self.done)
    }
}
