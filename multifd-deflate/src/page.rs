// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Making the streams of pages.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::Encoder;

/// Compresses pages for one channel, with distances of at most 4 KiB: neither Intel's nor Kunpeng's device
/// is set up to go back further.
pub struct PageEncoder {
    encoder: Any,
}

enum Any {
    /// A page is not longer than that.
    Small(Encoder),
    /// A longer page needs an encoder with a window. There is no device for hosts with such pages, so
    /// what counts is only that the format is kept.
    Windowed(Compress),
}

impl PageEncoder {
    /// `small` makes the encoder of a page that is not longer than a stream may refer back.
    pub(crate) fn new(page_size: usize, small: impl FnOnce() -> Encoder) -> Self {
        let encoder = if page_size <= MAX_DISTANCE {
            Any::Small(small())
        } else {
            let level = Compression::fast();
            Any::Windowed(Compress::new_with_window_bits(level, false, WINDOW_BITS))
        };
        Self { encoder }
    }

    /// Writes the page as one complete stream to the front of `room` and returns its length; `None` if
    /// there is not room enough, or if the page is longer than the encoder was made for.
    pub fn encode(&mut self, page: &[u8], room: &mut [u8]) -> Option<usize> {
        match &mut self.encoder {
            Any::Small(encoder) => encoder.encode(page, room),
            Any::Windowed(compress) => {
                compress.reset();
                let status = compress.compress(page, room, FlushCompress::Finish);
                let is_whole = matches!(status, Ok(Status::StreamEnd));
                usize::try_from(compress.total_out())
                    .ok()
                    .filter(|_| is_whole)
            }
        }
    }
}

impl fmt::Debug for PageEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageEncoder").finish_non_exhaustive()
    }
}

/// How far back a stream may refer, in bytes.
const MAX_DISTANCE: usize = 4096;
/// The same as a power of two.
const WINDOW_BITS: u8 = 12;

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;
    use crate::Deflate;

    /// Content that comes again after so many bytes.
    fn periodic(period: usize, len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let start: Vec<u8> = (0..period)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        start.iter().copied().cycle().take(len).collect()
    }

    /// Decompresses as a decoder does that remembers no more than 4 KiB.
    fn decode(stream: &[u8], len: usize) -> Vec<u8> {
        let mut decoder = Decompress::new_with_window_bits(false, WINDOW_BITS);
        let mut content = Vec::new();
        let mut piece = [0; 512];
        while content.len() < len {
            let (read, written) = (decoder.total_in(), decoder.total_out());
            let rest = &stream[usize::try_from(read).unwrap()..];
            let status = decoder.decompress(rest, &mut piece, FlushDecompress::None);
            status.expect("a distance of more than 4 KiB");
            let count = usize::try_from(decoder.total_out() - written).unwrap();
            assert!(count > 0, "no progress");
            content.extend_from_slice(&piece[..count]);
        }
        content
    }

    #[test]
    fn distances_are_within_4_kib() {
        for size in [0x1000, 0x2000, 0x4000, 0x10000] {
            let mut encoder = Deflate::built_in().page_encoder(size);
            let mut room = vec![0; size - 1];
            for (period, shrinks) in [
                (1000, true),
                (3000, true),
                // What comes again only after more than 4 KiB is of no use.
                (4200, false),
                (7000, false),
            ] {
                let page = periodic(period, size);
                let length = encoder.encode(&page, &mut room);
                assert_eq!(
                    length.is_some(),
                    shrinks,
                    "pages of {size}, period of {period}"
                );
                if let Some(length) = length {
                    assert!(decode(&room[..length], page.len()) == page);
                }
            }
        }
    }
}
