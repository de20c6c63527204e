//! Bits of a slot's pages and bits of its block's pages. A slot may begin at any page of its block, so
//! the two are shifted against each other.

use multifd_migration::dirty::{Chunk, DirtyBitmap, WORDS_PER_CHUNK};

use crate::slot::Placed;

/// Adds the dirty pages of a slot to those of its block.
pub(crate) fn merge_slot(dirty: &mut DirtyBitmap, slot: &Placed, words: &[u64]) {
    let shift = slot.first_page % 64;
    for (at, word) in (0..).zip(words) {
        let word = word & inside(slot.pages, at);
        if word == 0 {
            continue;
        }
        let page = slot.first_page - shift + at * 64;
        dirty.merge(page, &[word << shift]);
        if shift > 0 {
            dirty.merge(page + 64, &[word >> (64 - shift)]);
        }
    }
}

/// The pages of a chunk that are in a slot, as `KVM_CLEAR_DIRTY_LOG` takes them: it wants a range that
/// begins at a multiple of 64 pages of the slot, and ends at one or at the slot's end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClearRange {
    /// Number of the first page in the slot.
    pub(crate) first_page: u64,
    /// How many pages the range has.
    pub(crate) pages: u32,
    words: Vec<u64>,
}

impl ClearRange {
    /// `None` if the chunk has no dirty page in the slot.
    pub(crate) fn new(slot: &Placed, chunk: &Chunk) -> Option<Self> {
        let chunk_end = chunk.first_page + CHUNK_PAGES;
        let slot_end = slot.first_page + slot.pages;
        let from = chunk.first_page.max(slot.first_page);
        let to = chunk_end.min(slot_end);
        if from >= to {
            return None;
        }
        let first_word = (from - slot.first_page) / 64;
        let end_word = (to - slot.first_page).div_ceil(64);
        let words: Vec<_> = (first_word..end_word)
            .map(|at| bits_from(chunk, slot.first_page + at * 64) & inside(slot.pages, at))
            .collect();
        if words.iter().all(|word| *word == 0) {
            return None;
        }
        let first_page = first_word * 64;
        let end_page = (end_word * 64).min(slot.pages);
        Some(Self {
            first_page,
            pages: u32::try_from(end_page - first_page).ok()?,
            words,
        })
    }

    /// One bit for each page of the range: whether to clear it.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }
}

/// The 64 bits of a chunk from a page of its block on; what is outside of the chunk is 0.
fn bits_from(chunk: &Chunk, page: u64) -> u64 {
    if page < chunk.first_page {
        let before = chunk.first_page - page;
        return if before < 64 {
            word(chunk, 0) << before
        } else {
            0
        };
    }
    let (at, bit) = ((page - chunk.first_page) / 64, page % 64);
    match bit {
        0 => word(chunk, at),
        _ => word(chunk, at) >> bit | word(chunk, at + 1) << (64 - bit),
    }
}

fn word(chunk: &Chunk, at: u64) -> u64 {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    chunk.words.get(at).copied().unwrap_or(0)
}

/// Which bits of word `at` are pages of a slot of `pages` pages.
fn inside(pages: u64, at: u64) -> u64 {
    match pages.saturating_sub(at * 64) {
        0 => 0,
        left @ 1..64 => u64::MAX >> (64 - left),
        _ => u64::MAX,
    }
}

const CHUNK_PAGES: u64 = WORDS_PER_CHUNK as u64 * 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pages(dirty: &mut DirtyBitmap) -> BTreeSet<u64> {
        let (mut from, mut pages) = (0, BTreeSet::new());
        while let Some(chunk) = dirty.take_chunk(&mut from) {
            for run in chunk.runs() {
                pages.extend(run.first_page..run.first_page + run.pages);
            }
        }
        pages
    }

    fn slot(first_page: u64, pages: u64) -> Placed {
        Placed::for_test(first_page, pages)
    }

    proptest! {
        #[test]
        fn a_slots_bits_are_its_blocks_pages(
            first_page in 0_u64..9000,
            len in 1_u64..9000,
            words in prop::collection::vec(prop_oneof![Just(0), any::<u64>()], 0..160),
        ) {
            let mut dirty = DirtyBitmap::clean(20_000);
            merge_slot(&mut dirty, &slot(first_page, len), &words);
            let bit = |page: &u64| words.get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 != 0);
            let want: BTreeSet<_> = (0..len).filter(bit).map(|page| first_page + page).collect();
            prop_assert_eq!(pages(&mut dirty), want);
        }

        #[test]
        fn just_the_chunks_pages_are_cleared(
            first_page in 0_u64..9000,
            len in 1_u64..9000,
            chunk in 0_u64..4,
            words in prop::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 64),
        ) {
            let slot = slot(first_page, len);
            let chunk = Chunk { first_page: chunk * 4096, words: words.try_into().unwrap() };
            let want: BTreeSet<_> = chunk
                .runs()
                .flat_map(|run| run.first_page..run.first_page + run.pages)
                .filter(|page| (first_page..first_page + len).contains(page))
                .collect();
            let Some(range) = ClearRange::new(&slot, &chunk) else {
                prop_assert!(want.is_empty());
                return Ok(());
            };
            // What the kernel asks for.
            let end = range.first_page + u64::from(range.pages);
            prop_assert_eq!(range.first_page % 64, 0);
            prop_assert!(range.pages % 64 == 0 || end == len);
            prop_assert!(end <= len);
            prop_assert_eq!(range.words().len(), range.pages.div_ceil(64) as usize);
            let cleared: BTreeSet<_> = (0..u64::from(range.pages))
                .filter(|page| range.words()[(page / 64) as usize] >> (page % 64) & 1 != 0)
                .map(|page| first_page + range.first_page + page)
                .collect();
            prop_assert_eq!(cleared, want);
        }
    }
}
