// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which pages of one RAM block are dirty.

use std::ops::Range;

/// One bit per page of a RAM block: dirty, which is to be sent again.
///
/// Pages are grouped in [chunks](Chunk) of 4096. A second level has one bit per chunk, so that a walk
/// over a large guest of which little is dirty touches little.
#[derive(Clone, Debug)]
pub struct DirtyBitmap {
    pages: u64,
    words: Vec<u64>,
    /// One bit per chunk: whether any of its words is not zero.
    summary: Vec<u64>,
    /// Dirty pages of each chunk, at most 4096.
    counts: Vec<u32>,
    dirty: u64,
}

/// The dirty pages of 4096 adjacent ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Number of the first page in its block; a multiple of 4096.
    pub first_page: u64,
    /// Bit `n % 64` of word `n / 64` is the page `first_page + n`.
    pub words: [u64; WORDS_PER_CHUNK],
}

/// Adjacent dirty pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRun {
    /// Number of the first page in its block.
    pub first_page: u64,
    /// How many pages, at least one.
    pub pages: u64,
}

/// 64-bit words of a [`Chunk`].
pub const WORDS_PER_CHUNK: usize = 64;

impl DirtyBitmap {
    /// A bitmap of a block of `pages` pages, none of them dirty.
    pub fn clean(pages: u64) -> Self {
        let chunks = index(pages.div_ceil(PAGES_PER_CHUNK));
        Self {
            pages,
            words: vec![0; index(pages.div_ceil(PAGES_PER_WORD))],
            summary: vec![0; chunks.div_ceil(64)],
            counts: vec![0; chunks],
            dirty: 0,
        }
    }

    /// A bitmap of a block of `pages` pages, all of them dirty.
    pub fn dirty(pages: u64) -> Self {
        let mut bitmap = Self::clean(pages);
        bitmap.mark(0, pages);
        bitmap
    }

    /// Pages of the block.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// How many of them are dirty.
    pub fn dirty_pages(&self) -> u64 {
        self.dirty
    }

    /// Marks `pages` pages from `first_page` on; what is outside the block is left out.
    pub fn mark(&mut self, first_page: u64, pages: u64) {
        let end = first_page.saturating_add(pages).min(self.pages);
        for (word, bits) in words_of(first_page..end) {
            self.merge_word(word, bits);
        }
    }

    /// Marks the pages whose bits are set in `words`, the form of `KVM_GET_DIRTY_LOG`: the lowest
    /// bit of the first word is the page `first_page`, which is a multiple of 64; other ones are
    /// rounded down. Bits outside the block are left out.
    pub fn merge(&mut self, first_page: u64, words: &[u64]) {
        let first = index(first_page / PAGES_PER_WORD);
        for (at, word) in words.iter().enumerate() {
            if *word != 0 {
                self.merge_word(first + at, *word);
            }
        }
    }

    /// Moves all dirty pages of `other`, which has the same number of pages, to this bitmap.
    pub fn append(&mut self, other: &mut Self) {
        let mut from = 0;
        while let Some(chunk) = other.take_chunk(&mut from) {
            self.merge(chunk.first_page, &chunk.words);
        }
    }

    /// Whether a page is dirty.
    pub fn contains(&self, page: u64) -> bool {
        let word = self.words.get(index(page / PAGES_PER_WORD));
        word.is_some_and(|word| word >> (page % PAGES_PER_WORD) & 1 != 0)
    }

    /// Copies the bits of the pages from `page` on, which need not be a multiple of 64, to the lowest bit of the first word
    /// and on. Behind the block's last page they are 0.
    pub fn copy_bits(&self, page: u64, words: &mut [u64]) {
        let (at, bit) = (index(page / PAGES_PER_WORD), page % PAGES_PER_WORD);
        let mut from = self.words.get(at..).unwrap_or_default().iter().copied();
        if bit == 0 {
            words.fill_with(|| from.next().unwrap_or(0));
            return;
        }
        let mut low = from.next().unwrap_or(0);
        words.fill_with(|| {
            let high = from.next().unwrap_or(0);
            std::mem::replace(&mut low, high) >> bit | high << (PAGES_PER_WORD - bit)
        });
    }

    /// What a log [clears](super::DirtyLog::clear) at once: whole chunks from that of the page `from` on, until
    /// `dirty` of their pages are dirty, and of no more than `pages` pages, but always one. It ends behind a chunk that has dirty
    /// pages, or at the block's end.
    pub fn stride(&self, from: u64, dirty: u64, pages: u64) -> Range<u64> {
        let first = from / PAGES_PER_CHUNK;
        let (mut end, mut found) = (first + 1, 0);
        let chunks = index((pages / PAGES_PER_CHUNK).max(1));
        let counts = self.counts.iter().skip(index(first)).take(chunks);
        for (count, chunk) in counts.zip(first + 1..) {
            if *count > 0 {
                (end, found) = (chunk, found + u64::from(*count));
            }
            if found >= dirty {
                break;
            }
        }
        let page = |chunk: u64| chunk.saturating_mul(PAGES_PER_CHUNK).min(self.pages);
        page(first)..page(end)
    }

    /// The first page of the first chunk at `from`, or behind it, that has dirty pages.
    pub(super) fn next_dirty(&self, from: u64) -> Option<u64> {
        let chunk = self.next_chunk(index(from / PAGES_PER_CHUNK))?;
        Some(chunk as u64 * PAGES_PER_CHUNK)
    }

    /// Takes the next chunk that has dirty pages out of the bitmap, which are clean then. `from` is
    /// the page to start at and becomes the one to go on with; 0 at the start of a walk.
    pub fn take_chunk(&mut self, from: &mut u64) -> Option<Chunk> {
        let chunk = self.next_chunk(index(*from / PAGES_PER_CHUNK))?;
        let first = chunk * WORDS_PER_CHUNK;
        let mut taken = Chunk {
            first_page: chunk as u64 * PAGES_PER_CHUNK,
            words: [0; WORDS_PER_CHUNK],
        };
        let words = self.words.iter_mut().skip(first);
        for (to, from) in taken.words.iter_mut().zip(words) {
            *to = std::mem::take(from);
        }
        if let Some(word) = self.summary.get_mut(chunk / 64) {
            *word &= !(1 << (chunk % 64));
        }
        if let Some(count) = self.counts.get_mut(chunk) {
            self.dirty -= u64::from(std::mem::take(count));
        }
        *from = taken.first_page + PAGES_PER_CHUNK;
        Some(taken)
    }

    /// The first chunk from `chunk` on that has dirty pages.
    fn next_chunk(&self, chunk: usize) -> Option<usize> {
        let mut skipped = u64::MAX << (chunk % 64);
        for (at, word) in self.summary.iter().enumerate().skip(chunk / 64) {
            let word = word & std::mem::replace(&mut skipped, u64::MAX);
            if word != 0 {
                return Some(at * 64 + word.trailing_zeros() as usize);
            }
        }
        None
    }

    fn merge_word(&mut self, at: usize, bits: u64) {
        let inside = match self.words.len() - at.min(self.words.len()) {
            0 => return,
            1 if !self.pages.is_multiple_of(PAGES_PER_WORD) => {
                u64::MAX >> (PAGES_PER_WORD - self.pages % PAGES_PER_WORD)
            }
            _ => u64::MAX,
        };
        let Some(word) = self.words.get_mut(at) else {
            return;
        };
        let new = bits & inside & !*word;
        if new == 0 {
            return;
        }
        *word |= new;
        self.dirty += u64::from(new.count_ones());
        let chunk = at / WORDS_PER_CHUNK;
        if let Some(count) = self.counts.get_mut(chunk) {
            *count += new.count_ones();
        }
        if let Some(summary) = self.summary.get_mut(chunk / 64) {
            *summary |= 1 << (chunk % 64);
        }
    }
}

impl Chunk {
    /// How many pages are dirty.
    pub fn pages(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// The dirty pages as runs that are as long as they can be, in order.
    pub fn runs(&self) -> Runs<'_> {
        Runs { chunk: self, at: 0 }
    }
}

/// The runs of a [`Chunk`].
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    chunk: &'a Chunk,
    /// The next page to look at, from the chunk's first one on.
    at: u64,
}

impl Runs<'_> {
    /// How many pages from `self.at` on are like each other: dirty ones if `ones`, else clean ones.
    fn skip_while(&mut self, ones: bool) -> u64 {
        let (start, alike) = (self.at, if ones { u64::MAX } else { 0 });
        let mut words = self.chunk.words.iter().skip(index(start / PAGES_PER_WORD));
        let bit = start % PAGES_PER_WORD;
        if bit > 0 {
            let others = words.next().map_or(0, |word| (word ^ alike) >> bit);
            let pages = u64::from(others.trailing_zeros()).min(PAGES_PER_WORD - bit);
            self.at += pages;
            if pages < PAGES_PER_WORD - bit {
                return pages;
            }
        }
        for word in words {
            if *word != alike {
                self.at += u64::from((word ^ alike).trailing_zeros());
                break;
            }
            self.at += PAGES_PER_WORD;
        }
        self.at - start
    }
}

impl Iterator for Runs<'_> {
    type Item = PageRun;

    fn next(&mut self) -> Option<PageRun> {
        self.skip_while(false);
        let first_page = self.chunk.first_page + self.at;
        let pages = self.skip_while(true);
        (pages > 0).then_some(PageRun { first_page, pages })
    }
}

const PAGES_PER_WORD: u64 = 64;
/// Pages of a [`Chunk`].
pub const PAGES_PER_CHUNK: u64 = PAGES_PER_WORD * WORDS_PER_CHUNK as u64;

/// The words of a bitmap that some pages are in, each with their bits.
pub(crate) fn words_of(pages: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let (mut page, end) = (pages.start, pages.end);
    std::iter::from_fn(move || {
        let left = end.checked_sub(page).filter(|left| *left > 0)?;
        let (word, bit) = (page / PAGES_PER_WORD, page % PAGES_PER_WORD);
        let count = (PAGES_PER_WORD - bit).min(left);
        page += count;
        Some((index(word), (u64::MAX >> (PAGES_PER_WORD - count)) << bit))
    })
}

/// An index into memory that exists. A number that is too large for this host is outside of all.
pub(super) fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// All pages that a walk gives, which empties the bitmap.
    fn walk(bitmap: &mut DirtyBitmap) -> Vec<u64> {
        let (mut from, mut pages) = (0, Vec::new());
        while let Some(chunk) = bitmap.take_chunk(&mut from) {
            for run in chunk.runs() {
                pages.extend(run.first_page..run.first_page + run.pages);
            }
        }
        assert_eq!(bitmap.dirty_pages(), 0);
        pages
    }

    #[test]
    fn a_dirty_block_is_all_its_pages() {
        for pages in [0, 1, 63, 64, 65, 4095, 4096, 4097, 300_000] {
            let mut bitmap = DirtyBitmap::dirty(pages);
            assert_eq!(bitmap.dirty_pages(), pages);
            assert!(walk(&mut bitmap).into_iter().eq(0..pages), "{pages}");
            assert!(walk(&mut bitmap).is_empty());
        }
    }

    #[test]
    fn runs_are_as_long_as_they_can_be() {
        let mut bitmap = DirtyBitmap::clean(10_000);
        bitmap.mark(60, 200);
        bitmap.mark(4000, 200);
        let chunk = bitmap.take_chunk(&mut 0).unwrap();
        let run = |first_page, pages| PageRun { first_page, pages };
        assert!(chunk.runs().eq([run(60, 200), run(4000, 96)]));
        assert_eq!(bitmap.dirty_pages(), 104);
        assert!(bitmap.contains(4199) && !bitmap.contains(4200) && !bitmap.contains(u64::MAX));
    }

    #[test]
    fn what_is_outside_is_left_out() {
        let mut bitmap = DirtyBitmap::clean(70);
        bitmap.merge(64, &[u64::MAX, u64::MAX]);
        bitmap.merge(1 << 60, &[1]);
        bitmap.mark(68, u64::MAX);
        bitmap.mark(u64::MAX, 1);
        assert_eq!(walk(&mut bitmap), [64, 65, 66, 67, 68, 69]);
    }

    #[test]
    fn bits_are_copied_from_any_page_on() {
        let mut bitmap = DirtyBitmap::clean(200);
        let dirty = [3, 64, 130, 199];
        dirty.into_iter().for_each(|page| bitmap.mark(page, 1));
        for page in (0..260).chain([u64::MAX, u64::MAX - 63]) {
            let mut words = [u64::MAX; 3];
            bitmap.copy_bits(page, &mut words);
            for bit in 0..192 {
                let dirty = page
                    .checked_add(bit)
                    .is_some_and(|page| bitmap.contains(page));
                let copied = words[index(bit / 64)] >> (bit % 64) & 1 != 0;
                assert_eq!(copied, dirty, "bit {bit} from page {page} on");
            }
        }
    }

    proptest! {
        #[test]
        fn like_a_set(
            pages in 1_u64..20_000,
            marks in prop::collection::vec((0_u64..21_000, 0_u64..300), 0..20),
            words in prop::collection::vec((0_u64..330, any::<u64>()), 0..20),
        ) {
            let mut bitmap = DirtyBitmap::clean(pages);
            let mut want = BTreeSet::new();
            for (first, count) in marks {
                bitmap.mark(first, count);
                want.extend(first..first + count);
            }
            for (word, bits) in words {
                bitmap.merge(word * 64, &[bits]);
                want.extend((0..64).filter(|bit| bits >> bit & 1 != 0).map(|bit| word * 64 + bit));
            }
            want.retain(|page| *page < pages);
            prop_assert_eq!(bitmap.dirty_pages(), want.len() as u64);
            prop_assert!(walk(&mut bitmap).into_iter().eq(want));
        }
    }
}
