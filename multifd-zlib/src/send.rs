// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sending side: a stream whose packets do not refer to each other.

use multifd_core::method::Rung;
use multifd_core::pages::PageCopy;
use multifd_core::{ChannelSetup, MethodError, Pages, Segments, SendMethod};
use multifd_deflate::zlib_header::{HEADER_LEN, header};
use multifd_deflate::{Deflate, Level, PartEncoder, Stream, compressible_runs, store, stored_len};

use crate::format::{FLUSH, NAME};
use crate::ladder::LADDER;

/// State of one sending channel.
pub(crate) struct ZlibSend {
    /// One for each rung that may be asked for, or for the only level.
    efforts: Vec<Effort>,
    selected: usize,
    /// Whether the stream's header has been made.
    started: bool,
    /// The pages of a packet, copied so that they hold still.
    content: PageCopy,
    stream: Vec<u8>,
    block_headers: Vec<[u8; STORED_HEADER_LEN]>,
    /// The stream's header, if the first packet's pages are left where they are.
    raw_header: [u8; HEADER_LEN],
}

/// One way to make a packet.
struct Effort {
    /// Says in the stream's header how hard was tried.
    level: u8,
    /// Whether pages are left where they are.
    raw: bool,
    /// Makes deflate data without header and trailer; `None` at level 0, which stores.
    encoder: Option<PartEncoder>,
}

impl ZlibSend {
    pub(crate) fn new(setup: &ChannelSetup, level: u8, deflate: &Deflate) -> Self {
        let efforts = match setup.rungs {
            None => vec![Effort::new(level, false, deflate)],
            Some(rungs) => {
                let ladder = LADDER.iter().take(rungs.max(1));
                let number = |rung: &Rung| u8::try_from(rung.level).unwrap_or_default();
                ladder
                    .map(|rung| Effort::new(number(rung), rung.is_raw(), deflate))
                    .collect()
            }
        };
        Self {
            efforts,
            selected: 0,
            raw_header: header(0),
            started: false,
            block_headers: Vec::with_capacity(setup.packet_bytes().div_ceil(BLOCK_LEN)),
            content: PageCopy::new(setup.packet_bytes()),
            // Whatever becomes longer when compressed is stored.
            stream: vec![0; 2 * setup.packet_bytes()],
        }
    }
}

impl ZlibSend {
    /// Leaves the pages where they are, between the headers of stored blocks. The guest may write to them meanwhile:
    /// nothing in such blocks depends on their content.
    fn send_raw<'a>(&'a mut self, pages: &Pages<'a>, out: &mut Segments<'a>) {
        self.block_headers.clear();
        self.block_headers.extend(stored_headers(pages.bytes()));
        if !std::mem::replace(&mut self.started, true) {
            out.push(&self.raw_header);
        }
        out.push_blocks(pages, BLOCK_LEN, &self.block_headers);
        out.push(&FLUSH);
    }

    /// Copies the pages and compresses them.
    fn send_compressed<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        let failed = || MethodError::device(NAME, "a packet longer than it can be");
        let effort = self.efforts.get_mut(self.selected).ok_or_else(failed)?;
        let content = self.content.fill(pages);
        let mut writer = Writer {
            encoder: effort.encoder.as_mut(),
            stream: &mut self.stream,
            done: 0,
            flushed: true,
        };
        let written = (|| {
            if !self.started {
                writer.push(&header(effort.level))?;
            }
            for run in compressible_runs(content) {
                if !run.compressible || !writer.compress(run.bytes)? {
                    writer.store(run.bytes)?;
                }
            }
            writer.flush()
        })();
        let done = written.ok_or_else(failed)?;
        self.started = true;
        out.push(self.stream.get(..done).unwrap_or_default());
        Ok(())
    }
}

impl SendMethod for ZlibSend {
    fn select(&mut self, rung: usize) {
        self.selected = rung;
    }

    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError> {
        if self
            .efforts
            .get(self.selected)
            .is_some_and(|effort| effort.raw)
        {
            self.send_raw(pages, out);
            return Ok(());
        }
        self.send_compressed(pages, out)
    }
}

impl Effort {
    fn new(level: u8, raw: bool, deflate: &Deflate) -> Self {
        Self {
            level,
            raw,
            encoder: Level::new(level).map(|level| deflate.part_encoder(level)),
        }
    }
}

/// The headers of stored blocks with so many bytes of content, in order, none of them the last of the stream
/// (RFC 1951, 3.2.4).
fn stored_headers(content: usize) -> impl Iterator<Item = [u8; STORED_HEADER_LEN]> {
    let starts = (0..content).step_by(BLOCK_LEN);
    starts.filter_map(move |start| {
        let len = u16::try_from((content - start).min(BLOCK_LEN)).ok()?;
        let ([low, high], [not_low, not_high]) = (len.to_le_bytes(), (!len).to_le_bytes());
        Some([0, low, high, not_low, not_high])
    })
}

/// Bytes of a stored block's header that begins at a byte.
const STORED_HEADER_LEN: usize = 5;
/// The content of a stored block: whole pages of 4 KiB, as many as fit.
const BLOCK_LEN: usize = 15 * 4096;

/// Adds to the stream of one packet. `None` is no room, which there always is.
struct Writer<'s> {
    encoder: Option<&'s mut PartEncoder>,
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
        let shorter = stored_len(content.len());
        let room = self.stream.get_mut(self.done..)?.get_mut(..shorter)?;
        let encoder = self.encoder.as_deref_mut();
        let made = encoder.and_then(|encoder| encoder.encode(content, room));
        self.done += made.unwrap_or_default();
        self.flushed |= made.is_some();
        Some(made.is_some())
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
