//! The payload of a packet that is being made.

use crate::memory::{IoVec, IoVecList, IoVecs};

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
            self.push_vec((*run).into());
        }
    }

    /// Bytes of all pieces together: the size of the payload.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a packet's header before the payload and answers all that is to be sent.
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
    use super::*;

    #[test]
    fn the_header_comes_first() {
        let mut list = IoVecList::default();
        let mut segments = Segments::new(&mut list);
        segments.push(b"ab");
        segments.push(b"");
        segments.push(b"c");
        assert_eq!(segments.bytes(), 3);
        let sent: Vec<u8> = segments
            .with_header(b"H")
            .iter()
            .flat_map(|vec| {
                let mut bytes = vec![0; vec.len()];
                vec.copy_to(&mut bytes);
                bytes
            })
            .collect();
        assert_eq!(sent, b"Habc");
    }
}
