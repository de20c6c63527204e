// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bytes as they are, in the form of deflate data: stored blocks (RFC 1951, 3.2.4).

/// What becomes of a stream after the blocks that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// It ends with them.
    Ends,
    /// More is written behind them.
    GoesOn,
}

/// Writes `content` as stored blocks to the front of `out`, and returns their length, which is [`stored_len`];
/// `None` if there is no room for them. Nothing is one block without content.
pub fn store(content: &[u8], out: &mut [u8], stream: Stream) -> Option<usize> {
    let blocks = block_count(content.len());
    let mut rest = content;
    let mut done = 0;
    for number in 1..=blocks {
        let (block, after) = rest.split_at(rest.len().min(MAX_BLOCK));
        rest = after;
        let len = u16::try_from(block.len()).ok()?;
        let is_last = stream == Stream::Ends && number == blocks;
        let [[a, b], [c, d]] = [len.to_le_bytes(), (!len).to_le_bytes()];
        let header: [u8; BLOCK_HEADER] = [u8::from(is_last), a, b, c, d];
        let room = out.get_mut(done..)?.get_mut(..BLOCK_HEADER + block.len())?;
        let (head, body) = room.split_at_mut_checked(BLOCK_HEADER)?;
        head.copy_from_slice(&header);
        body.copy_from_slice(block);
        done += BLOCK_HEADER + block.len();
    }
    Some(done)
}

/// The bytes that [`store`] makes of as many bytes of content.
pub const fn stored_len(content: usize) -> usize {
    content + block_count(content) * BLOCK_HEADER
}

/// A stream has at least one block.
const fn block_count(content: usize) -> usize {
    if content == 0 {
        1
    } else {
        content.div_ceil(MAX_BLOCK)
    }
}

/// Most bytes of content in one stored block.
const MAX_BLOCK: usize = 0xffff;
/// Bytes before the content of a block: a byte that says what it is, its length twice.
const BLOCK_HEADER: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Decoder;

    #[test]
    fn a_decoder_takes_it() {
        for len in [0, 1, 4096, 0xffff, 0x10000, 0x20001] {
            let content: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let mut bytes = vec![0; content.len() + 64];
            let written = store(&content, &mut bytes, Stream::Ends).unwrap();
            assert_eq!(written, stored_len(content.len()));
            let mut decoded = vec![0; content.len()];
            Decoder::new()
                .decode_exact(&bytes[..written], &mut decoded)
                .unwrap();
            assert!(decoded == content, "{len}");
            assert_eq!(
                store(&content, &mut bytes[..written - 1], Stream::Ends),
                None
            );
        }
    }

    #[test]
    fn a_stream_that_goes_on_is_not_at_its_end() {
        for len in [0, 1, 4096, 0xffff, 0x10000, 0x20001] {
            let content: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let mut bytes = vec![0; content.len() + 64];
            let written = store(&content, &mut bytes, Stream::GoesOn).unwrap();
            assert_eq!(written, stored_len(content.len()));
            let mut decoded = Vec::with_capacity(content.len() + 1);
            let mut inflater = flate2::Decompress::new(false);
            let flush = flate2::FlushDecompress::Sync;
            let status = inflater.decompress_vec(&bytes[..written], &mut decoded, flush);
            assert_eq!(status.unwrap(), flate2::Status::Ok);
            assert!(decoded == content, "{len}");
        }
    }
}
