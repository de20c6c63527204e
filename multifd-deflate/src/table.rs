// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The payload of `qpl` and `uadk`: a table of lengths, then the pages one after the other.
//!
//! | offset | size | value |
//! |---|---|---|
//! | 0 | 4 | bytes of what the first page became, big endian |
//! | 4 | 4 | .. the second page, and so on |
//! | 4 * n | sum of the n lengths | the pages, back to back |
//!
//! A length equal to the page size is that of a page as it is. A shorter one is that of a complete
//! stream, whose content is the page. What the stream looks like is the method's affair.

use std::ops::RangeInclusive;

/// The sizes in bytes that a payload of `pages` pages may have: from a byte per page to all pages as
/// they are.
pub fn payload_limits(pages: usize, page_size: usize) -> RangeInclusive<usize> {
    pages * (ENTRY + 1)..=pages * (ENTRY + page_size)
}

/// A payload whose table has been checked: it gives every page its bytes, and every byte of the
/// payload to a page.
#[derive(Clone, Copy, Debug)]
pub struct Table<'p> {
    lengths: &'p [[u8; ENTRY]],
    content: &'p [u8],
    page_size: usize,
}

impl<'p> Table<'p> {
    /// Checks the table at the start of a payload of `pages` pages of `page_size` bytes each.
    ///
    /// # Errors
    /// A length that no page has, or a sum of them that is not what follows the table.
    pub fn parse(payload: &'p [u8], pages: usize, page_size: usize) -> Result<Self, TableError> {
        let short = TableError::Short {
            payload: payload.len(),
            pages,
        };
        let len = pages.checked_mul(ENTRY).ok_or(short)?;
        let (table, content) = payload.split_at_checked(len).ok_or(short)?;
        let (lengths, _) = table.as_chunks();
        let mut told = 0;
        for (page, length) in lengths.iter().enumerate() {
            let length = length_of(*length);
            if length == 0 || length > page_size {
                return Err(TableError::Length {
                    page,
                    length,
                    page_size,
                });
            }
            // A sum at the limit is wrong too.
            told = length.saturating_add(told);
        }
        if told != content.len() {
            return Err(TableError::Sum {
                pages,
                told,
                got: content.len(),
            });
        }
        Ok(Self {
            lengths,
            content,
            page_size,
        })
    }

    /// The pages in order.
    pub fn pages(&self) -> impl Iterator<Item = PageBytes<'p>> + use<'p> {
        let Self {
            lengths,
            mut content,
            page_size,
        } = *self;
        let mut at = lengths.len() * ENTRY;
        lengths.iter().map_while(move |length| {
            let (bytes, rest) = content.split_at_checked(length_of(*length))?;
            content = rest;
            let start = at;
            at += bytes.len();
            Some(PageBytes {
                at: start,
                bytes,
                is_raw: bytes.len() == page_size,
            })
        })
    }
}

/// What a payload has of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBytes<'p> {
    /// Where in the payload, in bytes.
    pub at: usize,
    /// The page as it is, or a stream that is shorter.
    pub bytes: &'p [u8],
    /// Whether it is the page as it is.
    pub is_raw: bool,
}

/// The table of a packet that is being made. Its memory is used again for every packet.
#[derive(Clone, Debug)]
pub struct Lengths {
    bytes: Vec<u8>,
}

impl Lengths {
    /// Room for the lengths of `pages` pages.
    pub fn new(pages: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(pages * ENTRY),
        }
    }

    /// Forgets all lengths.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds the length in bytes of what the next page became: at least 1, at most that of a page.
    pub fn push(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
    }

    /// How many lengths there are.
    pub fn count(&self) -> usize {
        self.bytes.len() / ENTRY
    }

    /// The table.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The payload of a packet that is being made. Its memory is used again for every packet.
#[derive(Clone, Debug)]
pub struct TableWriter {
    page_size: usize,
    most: usize,
    lengths: Lengths,
    content: Vec<u8>,
    done: usize,
}

impl TableWriter {
    /// Room for the payload of `pages` pages of `page_size` bytes each.
    pub fn new(pages: usize, page_size: usize) -> Self {
        Self {
            page_size,
            most: pages,
            lengths: Lengths::new(pages),
            content: vec![0; pages * page_size],
            done: 0,
        }
    }

    /// Forgets all pages.
    pub fn clear(&mut self) {
        self.lengths.clear();
        self.done = 0;
    }

    /// Adds a page. `encode` is given the page and room for a stream that is shorter, and returns the
    /// length of the stream that it has written to the front of it; without one the page is added as it is.
    ///
    /// Returns whether there was room: not if it is a page of another size, or one more than the
    /// writer was made for.
    #[must_use]
    pub fn add(
        &mut self,
        page: &[u8],
        encode: impl FnOnce(&[u8], &mut [u8]) -> Option<usize>,
    ) -> bool {
        let room = self.content.get_mut(self.done..).unwrap_or_default();
        let Some(room) = room.get_mut(..self.page_size) else {
            return false;
        };
        if page.len() != self.page_size || self.lengths.count() == self.most {
            return false;
        }
        let shorter = self.page_size.saturating_sub(1);
        let stream = encode(page, room.get_mut(..shorter).unwrap_or_default());
        let length = stream.filter(|length| (1..=shorter).contains(length));
        let length = length.unwrap_or_else(|| {
            room.copy_from_slice(page);
            page.len()
        });
        self.lengths.push(length);
        self.done += length;
        true
    }

    /// The payload, in two parts: the table, and the pages.
    pub fn parts(&self) -> [&[u8]; 2] {
        let content = self.content.get(..self.done).unwrap_or_default();
        [self.lengths.as_bytes(), content]
    }
}

/// A table that lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// There is no room for the table.
    #[error("{payload} bytes, wanted a table of {pages} lengths")]
    Short {
        /// Bytes of the payload.
        payload: usize,
        /// Pages of the packet.
        pages: usize,
    },
    /// No page has such a length.
    #[error("page {page} has a length of {length}, wanted 1 to {page_size}")]
    Length {
        /// Number of the page in the packet, from 0 on.
        page: usize,
        /// Its length in bytes, as the table has it.
        length: usize,
        /// The most it may be.
        page_size: usize,
    },
    /// All lengths together are not what the payload has.
    #[error("a table of {pages} lengths, {told} bytes in sum, wanted the {got} that follow it")]
    Sum {
        /// Pages of the packet.
        pages: usize,
        /// The sum of all lengths.
        told: usize,
        /// Bytes of the payload after the table.
        got: usize,
    },
}

impl TableError {
    /// Where in the payload it went wrong, in bytes.
    pub fn at(&self) -> usize {
        match self {
            Self::Short { payload, .. } => *payload,
            Self::Length { page, .. } => page * ENTRY,
            Self::Sum { pages, .. } => pages * ENTRY,
        }
    }
}

fn length_of(entry: [u8; ENTRY]) -> usize {
    usize::try_from(u32::from_be_bytes(entry)).unwrap_or(usize::MAX)
}

/// Bytes of a length in the table.
const ENTRY: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 16;

    fn payload(lengths: &[u32], content: usize) -> Vec<u8> {
        let table = lengths.iter().flat_map(|length| length.to_be_bytes());
        table.chain(std::iter::repeat_n(0x55, content)).collect()
    }

    fn refused(lengths: &[u32], content: usize, pages: usize) -> (usize, String) {
        let error = Table::parse(&payload(lengths, content), pages, PAGE).unwrap_err();
        (error.at(), error.to_string())
    }

    #[test]
    fn what_is_written_is_read() {
        let pages: Vec<Vec<u8>> = (0..5u8).map(|number| vec![number; PAGE]).collect();
        let mut writer = TableWriter::new(pages.len(), PAGE);
        for _ in 0..2 {
            writer.clear();
            for (number, page) in pages.iter().enumerate() {
                let added = writer.add(page, |page, room| {
                    assert_eq!(room.len(), PAGE - 1);
                    room[..number].copy_from_slice(&page[..number]);
                    Some(number)
                });
                assert!(added);
            }
            assert!(!writer.add(&pages[0], |_, _| Some(1)), "a page too many");
        }
        let payload = writer.parts().concat();
        assert!(payload_limits(5, PAGE).contains(&payload.len()));
        let table = Table::parse(&payload, 5, PAGE).unwrap();
        let read: Vec<_> = table.pages().collect();
        assert_eq!(read.len(), 5);
        let mut at = 20;
        for (number, page) in read.into_iter().enumerate() {
            // A stream of no bytes is none.
            let is_raw = number == 0;
            let len = if is_raw { PAGE } else { number };
            let bytes = &pages[number][..len];
            assert_eq!(page, PageBytes { at, bytes, is_raw });
            at += len;
        }
    }

    #[test]
    fn what_does_not_fit_is_added_as_it_is() {
        let page = [7; PAGE];
        let mut writer = TableWriter::new(4, PAGE);
        for stream in [None, Some(0), Some(PAGE), Some(usize::MAX)] {
            assert!(writer.add(&page, |_, room| {
                room.fill(9);
                stream
            }));
        }
        let payload = writer.parts().concat();
        assert_eq!(payload.len(), *payload_limits(4, PAGE).end());
        let table = Table::parse(&payload, 4, PAGE).unwrap();
        assert!(table.pages().all(|read| read.is_raw && read.bytes == page));
        let mut writer = TableWriter::new(1, PAGE);
        assert!(
            !writer.add(&page[1..], |_, _| None),
            "a page of another size"
        );
        assert_eq!(writer.parts().concat(), b"");
    }

    #[test]
    fn every_lie_has_its_place() {
        let text = |at: usize, text: &str| (at, text.to_owned());
        assert!(Table::parse(&payload(&[3, 16, 1], 20), 3, PAGE).is_ok());
        assert_eq!(
            refused(&[3, 16, 0], 19, 3),
            text(8, "page 2 has a length of 0, wanted 1 to 16")
        );
        assert_eq!(
            refused(&[3, 17, 1], 21, 3),
            text(4, "page 1 has a length of 17, wanted 1 to 16")
        );
        assert_eq!(
            refused(&[u32::MAX, 5], 4, 2),
            text(0, "page 0 has a length of 4294967295, wanted 1 to 16")
        );
        for content in [0, 19, 21] {
            let want = format!(
                "a table of 3 lengths, 20 bytes in sum, wanted the {content} that follow it"
            );
            assert_eq!(refused(&[3, 16, 1], content, 3), text(12, &want));
        }
        assert_eq!(
            refused(&[3, 16], 3, 3),
            text(11, "11 bytes, wanted a table of 3 lengths")
        );
        let pages = usize::MAX / 2;
        let want = format!("8 bytes, wanted a table of {pages} lengths");
        assert_eq!(refused(&[3, 16], 0, pages), text(8, &want));
    }

    #[test]
    fn no_pages_are_no_bytes() {
        assert_eq!(Table::parse(b"", 0, PAGE).unwrap().pages().count(), 0);
        assert_eq!(refused(&[1], 1, 0).0, 0);
    }
}
