// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Decompressing one packet after the other, in one of two ways.
//!
//! A packet that stands alone can be decompressed as a whole, which is half as fast again as a
//! stream. Nothing in it says so: it is tried, and whoever sends one packet that does not stand alone
//! is taken for a sender of streams from then on.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;
use multifd_core::MethodError;

use crate::format::NAME;

/// The content of a channel's stream.
pub(crate) struct Inflater {
    whole: Decompressor,
    stream: Decompress,
    /// Whether a packet was seen that does not stand alone.
    streaming: bool,
    /// The content before a packet's, [`WINDOW`] bytes; its content; room for one of [`MARK`].
    buffer: Vec<u8>,
    /// Bytes of content that the buffer holds of the packet before.
    last: usize,
    /// Bytes of content so far, counted up to [`WINDOW`].
    known: usize,
}

impl Inflater {
    /// Room for packets of up to `content` bytes.
    pub(crate) fn new(content: usize) -> Self {
        Self {
            whole: Decompressor::new(),
            stream: Decompress::new(false),
            streaming: false,
            buffer: vec![0; WINDOW + content + MARK_CONTENT.len()],
            last: 0,
            known: 0,
        }
    }

    /// Decompresses the data of one packet to exactly `wanted` bytes.
    ///
    /// The last [`MARK_LEN`] bytes of `data` are not the packet's, but room for this method. The
    /// packet's are at byte `at` of its payload.
    ///
    /// # Errors
    /// The data is damaged, ends the stream, or has more or less content.
    pub(crate) fn inflate(
        &mut self,
        data: &mut [u8],
        wanted: usize,
        at: usize,
    ) -> Result<&[u8], MethodError> {
        debug_assert!(WINDOW + wanted + MARK_CONTENT.len() <= self.buffer.len());
        self.buffer.copy_within(self.last..self.last + WINDOW, 0);
        if self.streaming || !self.inflate_whole(data, wanted) {
            let data = data.get(..data.len() - MARK_LEN).unwrap_or_default();
            self.start_stream()?;
            self.inflate_stream(data, wanted, at)?;
        }
        self.last = wanted;
        self.known = (self.known + wanted).min(WINDOW);
        Ok(self.buffer.get(WINDOW..WINDOW + wanted).unwrap_or_default())
    }

    /// Decompresses a packet that stands alone; answers whether it does.
    ///
    /// The decompressor wants a stream that ends, and does not say where it did. So the packet's
    /// data gets a last block whose content is known, and has to be where it is expected.
    fn inflate_whole(&mut self, data: &mut [u8], wanted: usize) -> bool {
        let mark = data.len() - MARK_LEN;
        if let Some(room) = data.get_mut(mark..) {
            room.copy_from_slice(&MARK);
        }
        let end = WINDOW + wanted;
        let room = self.buffer.get_mut(WINDOW..end + MARK_CONTENT.len());
        let room = room.unwrap_or_default();
        let written = self.whole.deflate_decompress(data, room);
        written == Ok(room.len()) && room.ends_with(&MARK_CONTENT)
    }

    /// Continues as a stream. All packets before stood alone, so each ended with a block, at a byte:
    /// what the stream has to know of them is their content.
    fn start_stream(&mut self) -> Result<(), MethodError> {
        if self.streaming {
            return Ok(());
        }
        self.streaming = true;
        let history = self
            .buffer
            .get(WINDOW - self.known..WINDOW)
            .unwrap_or_default();
        if !history.is_empty() {
            self.stream
                .set_dictionary(history)
                .map_err(|error| MethodError::device(NAME, error.to_string()))?;
        }
        Ok(())
    }

    fn inflate_stream(&mut self, data: &[u8], wanted: usize, at: usize) -> Result<(), MethodError> {
        // A byte more than wanted, to notice a packet that holds too much.
        let room = self
            .buffer
            .get_mut(WINDOW..=WINDOW + wanted)
            .unwrap_or_default();
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(data, room, FlushDecompress::Sync);
        let read = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
        let written = usize::try_from(self.stream.total_out() - written).unwrap_or(usize::MAX);
        let what = match status {
            Err(error) => error.to_string(),
            Ok(Status::StreamEnd) => {
                "the end of the stream, which goes on with each packet".to_owned()
            }
            Ok(_) if written > wanted => {
                format!("more than the {wanted} bytes of the packet's pages")
            }
            Ok(_) if read < data.len() => format!("{} bytes are left over", data.len() - read),
            Ok(_) if written < wanted => {
                format!("{written} bytes, wanted the {wanted} of the packet's pages")
            }
            Ok(_) => return Ok(()),
        };
        Err(MethodError::corrupt(NAME, at + read, what))
    }
}

/// Bytes that deflate refers back to at most.
const WINDOW: usize = 32 * 1024;
/// Bytes that [`Inflater::inflate`] wants after a packet's data.
pub(crate) const MARK_LEN: usize = MARK.len();
/// A final stored block (RFC 1951, 3.2.4) of [`MARK_CONTENT`].
const MARK: [u8; 5 + MARK_CONTENT.len()] = *b"\x01\x08\x00\xf7\xffthe end.";
const MARK_CONTENT: [u8; 8] = *b"the end.";

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    /// Packets of a stream: 3 that stand alone, then some that refer to the one before.
    fn packets() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut compressor = Compress::new(Compression::new(6), false);
        let text = |number: usize| format!("packet {} of pages. ", number / 2).repeat(400 + number);
        (0..8)
            .map(|number| {
                if number < 3 {
                    compressor.reset();
                }
                let content = text(number).into_bytes();
                let mut data = vec![0; 2 * content.len()];
                let before = compressor.total_out();
                compressor
                    .compress(&content, &mut data, FlushCompress::Sync)
                    .unwrap();
                data.truncate(usize::try_from(compressor.total_out() - before).unwrap());
                (data, content)
            })
            .collect()
    }

    fn with_room(data: &[u8]) -> Vec<u8> {
        [data, &[0; MARK_LEN]].concat()
    }

    #[test]
    fn packets_stand_alone_until_one_does_not() {
        let mut inflater = Inflater::new(1 << 16);
        for (number, (data, content)) in packets().iter().enumerate() {
            let got = inflater.inflate(&mut with_room(data), content.len(), 0);
            assert!(got.unwrap() == content, "{number}");
            assert_eq!(inflater.streaming, number >= 3, "{number}");
        }
    }

    #[test]
    fn both_ways_find_the_same_faults() {
        let packets = packets();
        let (data, content) = &packets[0];
        let final_block = [&data[..], &[0x03, 0x00]].concat();
        let left_over = [&final_block[..], b"rest"].concat();
        for streaming in [false, true] {
            for (data, wanted, what) in [
                (&data[..], content.len() - 1, "more than"),
                (data, content.len() + 1, "bytes, wanted the"),
                (&data[..data.len() - 20], content.len(), "bytes, wanted the"),
                (&final_block, content.len(), "the end of the stream"),
                (&left_over, content.len(), "the end of the stream"),
                (b"\xff", content.len(), "deflate"),
                (b"", content.len(), "0 bytes, wanted the"),
            ] {
                let mut inflater = Inflater::new(1 << 16);
                inflater.streaming = streaming;
                let error = inflater
                    .inflate(&mut with_room(data), wanted, 2)
                    .unwrap_err();
                assert!(error.to_string().contains(what), "{error}");
            }
        }
    }
}
