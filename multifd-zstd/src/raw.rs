// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Frames of raw blocks: pages as they are, in the method's format (RFC 8878, 3.1.1).
//!
//! ```text
//! 0   28 b5 2f fd     magic number
//! 4   a0              a single segment, so no window; the content's size in four bytes; no checksum, no dictionary
//! 5   u32 (LE)        the content's size
//! 9   blocks: a header of three bytes (LE): bit 0 the last one, bits 1 and 2 the kind, 0 for raw, bits 3 to 23 the
//!     size, up to 128 KiB; then as many bytes
//! ```

use multifd_core::pages::PayloadError;
use multifd_core::{PagesMut, Payload};

/// Bytes before the first block.
pub(crate) const FRAME_HEADER_LEN: usize = 9;
/// Bytes before the content of each block.
pub(crate) const BLOCK_HEADER_LEN: usize = 3;
/// The longest content of a block, in bytes.
pub(crate) const BLOCK_LEN: usize = 128 << 10;

/// What is before the blocks of a frame with the content of a packet.
pub(crate) fn frame_header(content: usize) -> [u8; FRAME_HEADER_LEN] {
    let [a, b, c, d] = u32::try_from(content).unwrap_or(u32::MAX).to_le_bytes();
    [0x28, 0xb5, 0x2f, 0xfd, 0xa0, a, b, c, d]
}

/// Reads a payload straight into the pages if it is one frame of raw blocks as they are made here, and answers its
/// length. Of any other it has read as many bytes as it answers, to the front of `buffer`, which has room for the payload;
/// the pages hold anything then.
///
/// # Errors
/// The connection's.
pub(crate) fn receive(
    payload: &mut Payload<'_>,
    pages: &PagesMut<'_>,
    buffer: &mut [u8],
) -> Result<usize, PayloadError> {
    let content = pages.bytes();
    let blocks = content.div_ceil(BLOCK_LEN);
    if payload.len() != FRAME_HEADER_LEN + blocks * BLOCK_HEADER_LEN + content {
        return Ok(0);
    }
    let mut head = [0; FRAME_HEADER_LEN + BLOCK_HEADER_LEN];
    payload.read_exact(&mut head)?;
    let (start, first) = head.split_at(FRAME_HEADER_LEN);
    let mut next = [0; BLOCK_HEADER_LEN];
    put(&mut next, 0, first);
    let mut writer = pages.writer();
    for (number, want) in block_headers(content).enumerate() {
        if next != want || start != frame_header(content) {
            return Ok(put_back(buffer, start, pages, number, next));
        }
        let len = writer.missing().min(BLOCK_LEN);
        let behind = if number + 1 < blocks {
            BLOCK_HEADER_LEN
        } else {
            0
        };
        let (behind, _) = next.split_at_mut(behind);
        payload.read_into(&mut writer, len, behind)?;
    }
    Ok(payload.len())
}

/// Puts what has been read to the front of `buffer`, as it was: so many raw blocks, and the header of another kind of
/// block behind them. Answers how much that is.
fn put_back(
    buffer: &mut [u8],
    start: &[u8],
    pages: &PagesMut<'_>,
    blocks: usize,
    next: [u8; BLOCK_HEADER_LEN],
) -> usize {
    let mut done = put(buffer, 0, start);
    let mut runs = pages.runs().iter();
    let mut run = runs.next().copied();
    for header in block_headers(pages.bytes()).take(blocks) {
        done += put(buffer, done, &header);
        let mut left = BLOCK_LEN;
        while let Some(span) = run.filter(|_| left > 0) {
            let (part, rest) = span.split_at(left);
            done += part.copy_to(buffer.split_at_mut(done).1);
            left -= part.len();
            run = Some(rest)
                .filter(|rest| !rest.is_empty())
                .or_else(|| runs.next().copied());
        }
    }
    done + put(buffer, done, &next)
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let (_, room) = buffer.split_at_mut(at);
    for (to, from) in room.iter_mut().zip(bytes) {
        *to = *from;
    }
    bytes.len()
}

/// The headers of the blocks of so many bytes of content, in order.
pub(crate) fn block_headers(content: usize) -> impl Iterator<Item = [u8; BLOCK_HEADER_LEN]> {
    let starts = (0..content).step_by(BLOCK_LEN);
    starts.filter_map(move |start| {
        let left = content - start;
        let size = u32::try_from(left.min(BLOCK_LEN)).ok()?;
        let [low, middle, high, _] = (size << 3 | u32::from(left <= BLOCK_LEN)).to_le_bytes();
        Some([low, middle, high])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_agrees() {
        for pages in [1_usize, 31, 32, 33, 128] {
            let content: Vec<u8> = (0..pages * 4096)
                .map(|at| u8::try_from(at / 5 % 256).unwrap())
                .collect();
            let mut frame = frame_header(content.len()).to_vec();
            for (header, block) in block_headers(content.len()).zip(content.chunks(BLOCK_LEN)) {
                frame.extend(header);
                frame.extend(block);
            }
            let len = zstd_safe::find_frame_compressed_size(&frame).unwrap();
            assert_eq!(len, frame.len());
            let mut got = vec![0; content.len()];
            let got_len = zstd_safe::decompress(&mut got[..], &frame).unwrap();
            assert!(got_len == content.len() && got == content, "{pages}");
        }
    }
}
