// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The payload of a packet that is being made.

use crate::memory::{IoVec, IoVecList, IoVecs, Span};

use super::Pages;

/// The pieces that make up a payload, in order. They stay where they are until they are sent: a
/// method pushes slices of its own buffers, or the guest's pages themselves.
#[derive(Debug)]
pub struct Segments<'a> {
    vecs: IoVecs<'a, 'a>,
    bytes: usize,
}

impl<'a> Segments<'a> {
    /// No pieces yet; the list's memory is used again.
    pub fn new(list: &'a mut IoVecList) -> Self {
        Self {
            vecs: list.start(),
            bytes: 0,
        }
    }

    /// Adds bytes of the method's own.
    pub fn push(&mut self, bytes: &'a [u8]) {
        self.push_vec(bytes.into());
    }

    /// Adds the pages as they are, without a copy.
    pub fn push_pages(&mut self, pages: &Pages<'a>) {
        for run in pages.runs() {
            self.push_span(*run);
        }
    }

    /// Adds the pages as they are, without a copy, in blocks of `len` bytes, and the next of `headers` before each of
    /// them. The last block may be shorter; without a header left there is no further block.
    pub fn push_blocks<const N: usize>(
        &mut self,
        pages: &Pages<'a>,
        len: usize,
        headers: &'a [[u8; N]],
    ) {
        let mut headers = headers.iter();
        let mut room = 0;
        for run in pages.runs() {
            let mut rest = *run;
            while !rest.is_empty() {
                if room == 0 {
                    let Some(header) = headers.next() else {
                        return;
                    };
                    self.push(header);
                    room = len;
                }
                let (part, behind) = rest.split_at(room);
                self.push_span(part);
                room -= part.len();
                rest = behind;
            }
        }
    }

    fn push_span(&mut self, span: Span<'a>) {
        self.push_vec(span.into());
    }

    /// Bytes of all pieces together: the size of the payload.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a packet's header before the payload and returns all that is to be sent.
    pub fn with_header(&mut self, header: &'a [u8]) -> &mut [IoVec<'a>] {
        self.vecs.push(header);
        let all = self.vecs.as_mut_slice();
        all.rotate_right(1);
        all
    }

    fn push_vec(&mut self, vec: IoVec<'a>) {
        if !vec.is_empty() {
            self.bytes += vec.len();
            self.vecs.push(vec);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::geometry::PageSize;
    use crate::memory::{Mapping, RamBlock};
    use crate::pages::PageRuns;
    use crate::wire::BlockName;

    fn bytes(mut segments: Segments<'_>) -> Vec<u8> {
        let vecs = segments.with_header(b"H");
        let bytes = vecs.iter().flat_map(|vec| {
            let mut bytes = vec![0; vec.len()];
            vec.copy_to(&mut bytes);
            bytes
        });
        bytes.collect()
    }

    const HEADERS: [[u8; 2]; 3] = [*b"a:", *b"b:", *b"c:"];

    #[test]
    fn blocks_do_not_follow_pages() {
        let region = Arc::new(Mapping::anonymous(4 * 4096).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        for page in 0..4 {
            let span = block.span(page * 4096, 4096).unwrap();
            span.copy_from(&[b'0' + u8::try_from(page).unwrap(); 4096]);
        }
        let mut runs = PageRuns::new(PageSize::X86);
        runs.set(&block, &[0, 0x2000, 0x3000]).unwrap();
        let mut list = IoVecList::default();
        let mut segments = Segments::new(&mut list);
        segments.push_blocks(&runs.pages(), 5000, &HEADERS);
        assert_eq!(segments.bytes(), 3 * 4096 + 6);
        let content = [[b'0'; 4096], [b'2'; 4096], [b'3'; 4096]].concat();
        let want = [
            &b"Ha:"[..],
            &content[..5000],
            b"b:",
            &content[5000..10000],
            b"c:",
            &content[10000..],
        ];
        assert!(bytes(segments) == want.concat());
        let mut segments = Segments::new(&mut list);
        segments.push_blocks(&runs.pages(), 5000, &HEADERS[..1]);
        assert_eq!(bytes(segments), [&b"Ha:"[..], &content[..5000]].concat());
    }

    #[test]
    fn the_header_comes_first() {
        let mut list = IoVecList::default();
        let mut segments = Segments::new(&mut list);
        segments.push(b"ab");
        segments.push(b"");
        segments.push(b"c");
        assert_eq!(segments.bytes(), 3);
        assert_eq!(bytes(segments), b"Habc");
    }
}
