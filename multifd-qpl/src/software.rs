// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! This project's own implementation of a page's stream.

use multifd_deflate::{PIECE, PageEncoder, is_compressible};

/// Writes the page as a stream to the front of `room` and returns its length; `None` if there is not
/// room enough, or if the page does not look as if there was.
pub(crate) fn encode(encoder: &mut PageEncoder, page: &[u8], room: &mut [u8]) -> Option<usize> {
    if !page.chunks(PIECE).any(is_compressible) {
        return None;
    }
    encoder.encode(page, room)
}

#[cfg(test)]
mod tests {
    use multifd_deflate::Deflate;

    use super::*;

    #[test]
    fn what_does_not_look_like_it_is_not_tried() {
        let mut state = 1u32;
        let random: Vec<u8> = (0..4096)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        let mut encoder = Deflate::built_in().page_encoder(4096);
        let mut room = [0; 8192];
        assert_eq!(encode(&mut encoder, &random, &mut room), None);
        assert!(encode(&mut encoder, &[7; 4096], &mut room).is_some());
    }
}
