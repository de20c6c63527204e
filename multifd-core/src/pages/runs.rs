// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The pages of a packet, merged into runs of adjacent ones.

#[cfg(doc)]
use crate::geometry::PACKET_BYTES;
use crate::geometry::PageSize;
use crate::memory::{RamBlock, Span};

/// Runs of adjacent pages, in the order of their packet. Its memory is used again for every packet.
#[derive(Debug)]
pub struct PageRuns<'m> {
    page_size: PageSize,
    pages: usize,
    runs: Vec<Span<'m>>,
}

impl<'m> PageRuns<'m> {
    /// Room for the pages of one packet.
    pub fn new(page_size: PageSize) -> Self {
        Self {
            page_size,
            pages: 0,
            runs: Vec::with_capacity(page_size.pages_per_packet()),
        }
    }

    /// Replaces the pages by those at `offsets` in `block`.
    ///
    /// This is where the pages of a packet are counted: no method ever sees more than [`PACKET_BYTES`] of them.
    ///
    /// # Errors
    /// There are more than a packet lists, or one is not wholly inside the block. There are no pages then.
    pub fn set(&mut self, block: &'m RamBlock, offsets: &[u64]) -> Result<(), PagesError> {
        let set = self.try_set(block, offsets);
        if set.is_err() {
            self.runs.clear();
            self.pages = 0;
        }
        set
    }

    fn try_set(&mut self, block: &'m RamBlock, offsets: &[u64]) -> Result<(), PagesError> {
        self.runs.clear();
        let (got, most) = (offsets.len(), self.page_size.pages_per_packet());
        if got > most {
            return Err(PagesError::TooMany { got, most });
        }
        self.pages = got;
        for offset in offsets {
            let page = block
                .span(*offset, self.page_size.bytes())
                .ok_or(PagesError::Outside { offset: *offset })?;
            match self
                .runs
                .last_mut()
                .and_then(|run| Some((run.merge(page)?, run)))
            {
                Some((longer, run)) => *run = longer,
                None => self.runs.push(page),
            }
        }
        Ok(())
    }

    /// The pages, to be sent.
    pub fn pages(&self) -> Pages<'_> {
        Pages {
            page_size: self.page_size,
            pages: self.pages,
            runs: &self.runs,
        }
    }

    /// The pages, to be filled.
    pub fn pages_mut(&mut self) -> PagesMut<'_> {
        PagesMut {
            pages: self.pages(),
        }
    }
}

/// Pages that no packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PagesError {
    /// There are more than a packet lists.
    #[error("a packet of {got} pages with content, wanted at most {most}")]
    TooMany {
        /// How many there are.
        got: usize,
        /// How many there may be.
        most: usize,
    },
    /// One is not wholly inside of its block.
    #[error("page {offset:#x} is outside its block")]
    Outside {
        /// Where it begins in the block.
        offset: u64,
    },
}

/// The normal pages of a packet that is being made: at least one, at most
/// [`PageSize::pages_per_packet`], which are [`PACKET_BYTES`].
///
/// The guest may write to them at any time. Whoever needs the same bytes twice copies them out.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    page_size: PageSize,
    pages: usize,
    runs: &'a [Span<'a>],
}

impl<'a> Pages<'a> {
    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.pages
    }

    /// Size of each page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Bytes of all pages together.
    pub fn bytes(&self) -> usize {
        self.pages * self.page_size.bytes()
    }

    /// The pages in order, adjacent ones merged. Each run is a multiple of the page size long.
    pub fn runs(&self) -> &'a [Span<'a>] {
        self.runs
    }

    /// The pages in order, one by one.
    pub fn iter(&self) -> impl Iterator<Item = Span<'a>> + use<'a> {
        let page = self.page_size.bytes();
        self.runs.iter().flat_map(move |run| {
            (0..run.len() / page).map(move |at| run.split_at(at * page).1.split_at(page).0)
        })
    }

    /// Copies all pages, in order, to the front of `target`, as much as fits, and returns how many
    /// bytes that were.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        let mut done = 0;
        for run in self.runs {
            done += run.copy_to(target.split_at_mut(done).1);
        }
        done
    }
}

/// The normal pages of a packet that has arrived: known to be inside their block, each once.
///
/// Until they are filled they hold what they held before.
#[derive(Debug)]
pub struct PagesMut<'a> {
    pages: Pages<'a>,
}

impl<'a> PagesMut<'a> {
    /// How many pages there are.
    pub fn count(&self) -> usize {
        self.pages.count()
    }

    /// Size of each page.
    pub fn page_size(&self) -> PageSize {
        self.pages.page_size()
    }

    /// Bytes of all pages together.
    pub fn bytes(&self) -> usize {
        self.pages.bytes()
    }

    /// The pages in order, adjacent ones merged.
    pub fn runs(&self) -> &'a [Span<'a>] {
        self.pages.runs()
    }

    /// The pages in order, one by one.
    pub fn iter(&self) -> impl Iterator<Item = Span<'a>> + use<'a> {
        self.pages.iter()
    }

    /// Starts to fill the pages from the first byte of the first one.
    pub fn writer(&self) -> PagesWriter<'a> {
        PagesWriter {
            run: None,
            rest: self.pages.runs,
        }
    }
}

/// Fills pages in order, in pieces of any size.
#[derive(Debug)]
pub struct PagesWriter<'a> {
    run: Option<Span<'a>>,
    rest: &'a [Span<'a>],
}

impl PagesWriter<'_> {
    /// Writes the next bytes, as many as there is still room for, and returns how many.
    pub fn write(&mut self, mut bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(span) = self.advance(bytes.len()) {
            let count = span.copy_from(bytes);
            bytes = bytes.split_at(count).1;
            done += count;
        }
        done
    }

    /// How many bytes are still missing.
    pub fn missing(&self) -> usize {
        self.run.iter().chain(self.rest).map(Span::len).sum()
    }
}

impl<'a> PagesWriter<'a> {
    /// Goes on by up to `most` bytes and returns which those are: no more than lie side by side. `None` at the end, and
    /// for no byte.
    pub(super) fn advance(&mut self, most: usize) -> Option<Span<'a>> {
        if most == 0 {
            return None;
        }
        let run = self.run.filter(|run| !run.is_empty());
        let (span, rest) = run.or_else(|| self.next_run())?.split_at(most);
        self.run = Some(rest);
        Some(span)
    }

    fn next_run(&mut self) -> Option<Span<'a>> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::geometry::PACKET_BYTES;
    use crate::memory::Mapping;
    use crate::wire::BlockName;

    fn block(pages: usize) -> RamBlock {
        let region = Arc::new(Mapping::anonymous(pages * 4096).unwrap());
        RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap()
    }

    #[test]
    fn neighbours_merge_in_order() {
        let block = block(8);
        let mut runs = PageRuns::new(PageSize::X86);
        runs.set(&block, &[0x1000, 0x2000, 0x5000, 0x4000, 0x6000])
            .unwrap();
        let lens: Vec<_> = runs.pages().runs().iter().map(Span::len).collect();
        assert_eq!(lens, [0x2000, 0x1000, 0x1000, 0x1000]);
        assert_eq!(runs.pages().iter().count(), 5);
        let outside = PagesError::Outside { offset: 0x8000 };
        assert_eq!(runs.set(&block, &[0, 0x8000]), Err(outside));
        assert_eq!(runs.pages().count(), 0);
    }

    /// Methods have room for the pages of one packet.
    #[test]
    fn no_more_pages_than_a_packet_lists() {
        for page_size in PageSize::ALL {
            let most = page_size.pages_per_packet();
            let block = block((most + 1) * page_size.bytes() / 4096);
            let offsets: Vec<u64> = (0..=most as u64)
                .map(|page| page * page_size.bytes_u64())
                .collect();
            let mut runs = PageRuns::new(page_size);
            runs.set(&block, &offsets[1..]).unwrap();
            assert_eq!(runs.pages().bytes(), PACKET_BYTES);
            let got = most + 1;
            assert_eq!(
                runs.set(&block, &offsets),
                Err(PagesError::TooMany { got, most })
            );
            assert_eq!((runs.pages().count(), runs.pages().runs().len()), (0, 0));
        }
    }

    proptest! {
        #[test]
        fn writer_and_copy_agree_with_pages(
            offsets in Just((0u64..16).collect::<Vec<_>>()).prop_shuffle(),
            count in 1usize..16,
            piece in 1usize..9000,
        ) {
            let block = block(16);
            let offsets: Vec<u64> = offsets[..count].iter().map(|page| page * 4096).collect();
            let mut runs = PageRuns::new(PageSize::X86);
            runs.set(&block, &offsets).unwrap();
            let content: Vec<u8> = (0..count * 4096).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect();

            let pages = runs.pages_mut();
            let mut writer = pages.writer();
            for bytes in content.chunks(piece) {
                prop_assert_eq!(writer.write(bytes), bytes.len());
            }
            prop_assert_eq!(writer.missing(), 0);
            prop_assert_eq!(writer.write(b"x"), 0);

            for (offset, want) in offsets.iter().zip(content.chunks(4096)) {
                let mut page = [0; 4096];
                block.span(*offset, 4096).unwrap().copy_to(&mut page);
                prop_assert_eq!(&page[..], want);
            }
            let mut gathered = vec![0; content.len()];
            prop_assert_eq!(runs.pages().copy_to(&mut gathered), content.len());
            prop_assert_eq!(gathered, content);
        }
    }
}
