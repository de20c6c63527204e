//! Bytes as they are, in the form of deflate data: stored blocks (RFC 1951, 3.2.4).

/// Most bytes of content in one stored block.
const MAX_BLOCK: usize = 0xffff;
/// Bytes before the content of a block: a byte that says what it is, its length twice.
const BLOCK_HEADER: usize = 5;

/// Writes `content` as a complete deflate stream to the front of `out`, and answers its length;
/// `None` if there is no room for it.
pub(crate) fn write(content: &[u8], out: &mut [u8]) -> Option<usize> {
    let blocks = content.len().div_ceil(MAX_BLOCK);
    let mut done = 0;
    for (number, block) in content.chunks(MAX_BLOCK).enumerate() {
        let len = u16::try_from(block.len()).ok()?;
        let [[a, b], [c, d]] = [len.to_le_bytes(), (!len).to_le_bytes()];
        let header: [u8; BLOCK_HEADER] = [u8::from(number + 1 == blocks), a, b, c, d];
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
            let mut decoded = vec![0; content.len()];
            libdeflater::Decompressor::new()
                .deflate_decompress(&stream[..written], &mut decoded)
                .unwrap();
            assert!(decoded == content, "{len}");
            assert_eq!(write(&content, &mut stream[..written - 1]), None);
        }
    }
}
