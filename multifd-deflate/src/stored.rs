//! Bytes as they are, in the form of deflate data: stored blocks (RFC 1951, 3.2.4).

/// Writes `content` as one complete stream of stored blocks to the front of `out`, and answers its
/// length, which is [`stored_len`]; `None` if there is no room for it.
pub fn store(content: &[u8], out: &mut [u8]) -> Option<usize> {
    let blocks = block_count(content.len());
    let mut rest = content;
    let mut done = 0;
    for number in 1..=blocks {
        let (block, after) = rest.split_at(rest.len().min(MAX_BLOCK));
        rest = after;
        let len = u16::try_from(block.len()).ok()?;
        let [[a, b], [c, d]] = [len.to_le_bytes(), (!len).to_le_bytes()];
        let header: [u8; BLOCK_HEADER] = [u8::from(number == blocks), a, b, c, d];
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
            let mut stream = vec![0; content.len() + 64];
            let written = store(&content, &mut stream).unwrap();
            assert_eq!(written, stored_len(content.len()));
            let mut decoded = vec![0; content.len()];
            Decoder::new()
                .decode_exact(&stream[..written], &mut decoded)
                .unwrap();
            assert!(decoded == content, "{len}");
            assert_eq!(store(&content, &mut stream[..written - 1]), None);
        }
    }
}
