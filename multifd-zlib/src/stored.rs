//! Bytes as they are, in a deflate stream: stored blocks (RFC 1951, 3.2.4).

/// Most bytes of content in one stored block.
const MAX_BLOCK: usize = 0xffff;
/// Bytes before the content of a block: a byte that says what it is, its length twice.
const BLOCK_HEADER: usize = 5;
/// A stored block without content, which is how a sync flush ends.
pub(crate) const FLUSH: [u8; BLOCK_HEADER] = [0, 0, 0, 0xff, 0xff];

/// The bytes that [`write`] makes of as many bytes of content.
pub(crate) fn stored_len(content: usize) -> usize {
    content + content.div_ceil(MAX_BLOCK) * BLOCK_HEADER
}

/// Writes `content` as stored blocks, of which none is the stream's last, to the front of `out`, and
/// answers their length; `None` if there is no room for them.
pub(crate) fn write(content: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut done = 0;
    for block in content.chunks(MAX_BLOCK) {
        let len = u16::try_from(block.len()).ok()?;
        let [[a, b], [c, d]] = [len.to_le_bytes(), (!len).to_le_bytes()];
        let header: [u8; BLOCK_HEADER] = [0, a, b, c, d];
        let room = out.get_mut(done..)?.get_mut(..BLOCK_HEADER + block.len())?;
        let (head, body) = room.split_at_mut_checked(BLOCK_HEADER)?;
        head.copy_from_slice(&header);
        body.copy_from_slice(block);
        done += BLOCK_HEADER + block.len();
    }
    Some(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decompressor_takes_it() {
        for len in [1, 4096, 0xffff, 0x10000, 0x20001] {
            let content: Vec<u8> = (0..len).map(|at: u32| at.to_le_bytes()[1]).collect();
            let mut stream = vec![0; content.len() + 64];
            let written = write(&content, &mut stream).unwrap();
            assert_eq!(written, stored_len(content.len()));
            let mut decoded = Vec::with_capacity(content.len() + 1);
            let mut inflater = flate2::Decompress::new(false);
            let status = inflater.decompress_vec(
                &stream[..written],
                &mut decoded,
                flate2::FlushDecompress::Sync,
            );
            assert_eq!(status.unwrap(), flate2::Status::Ok);
            assert!(decoded == content, "{len}");
            assert_eq!(write(&content, &mut stream[..written - 1]), None);
        }
    }
}
