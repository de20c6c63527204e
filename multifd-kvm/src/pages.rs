// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bits of a slot's pages and bits of its block's pages. A slot may begin at any page of its block, so
//! the two are shifted against each other.

use std::ops::Range;

use multifd_migration::dirty::DirtyBitmap;

use crate::slot::Placed;

/// Adds the dirty pages of a slot to those of its block. The kernel's bitmaps are little-endian on every host.
pub(crate) fn merge_slot(dirty: &mut DirtyBitmap, slot: &Placed, words: &[u64]) {
    let shift = slot.first_page % 64;
    for (at, word) in (0..).zip(words) {
        let word = u64::from_le(*word) & inside(slot.pages, at);
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

/// What of a stride is in a slot, as `KVM_CLEAR_DIRTY_LOG` takes it: a range that begins at a multiple of 64 pages of
/// the slot, and ends at one or at the slot's end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClearRange<'a> {
    /// Number of the first page in the slot.
    pub(crate) first_page: u64,
    /// How many pages the range has.
    pub(crate) pages: u32,
    /// One bit for each page of the range: whether to clear it. In the kernel's byte order.
    pub(crate) words: &'a [u64],
}

impl<'a> ClearRange<'a> {
    /// `None` if the stride has no dirty page in the slot. Pages that are not in the stride but in a word with some of
    /// it are cleared, too, if they are dirty. `room` has a word for each 64 pages of the slot.
    pub(crate) fn new(
        slot: &Placed,
        dirty: &DirtyBitmap,
        stride: &Range<u64>,
        room: &'a mut [u64],
    ) -> Option<Self> {
        let from = stride.start.max(slot.first_page);
        let to = stride.end.min(slot.first_page + slot.pages);
        if from >= to {
            return None;
        }
        let first_word = (from - slot.first_page) / 64;
        let end_word = (to - slot.first_page).div_ceil(64);
        let words = room.get_mut(..usize::try_from(end_word - first_word).ok()?)?;
        dirty.copy_bits(slot.first_page + first_word * 64, words);
        if let Some(last) = words.last_mut() {
            *last &= inside(slot.pages, end_word - 1);
        }
        if words.iter().all(|word| *word == 0) {
            return None;
        }
        words.iter_mut().for_each(|word| *word = word.to_le());
        let first_page = first_word * 64;
        let end_page = (end_word * 64).min(slot.pages);
        Some(Self {
            first_page,
            pages: u32::try_from(end_page - first_page).ok()?,
            words,
        })
    }
}

/// Which bits of word `at` are pages of a slot of `pages` pages.
fn inside(pages: u64, at: u64) -> u64 {
    match pages.saturating_sub(at * 64) {
        0 => 0,
        left @ 1..64 => u64::MAX >> (64 - left),
        _ => u64::MAX,
    }
}

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

    /// A bitmap as the kernel has it in memory: the page `n` is the bit `n % 8` of the byte `n / 8`.
    fn kernel_words(bytes: &[u8]) -> Vec<u64> {
        let words = bytes.chunks_exact(8);
        words
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect()
    }

    fn kernel_pages(words: &[u64]) -> BTreeSet<u64> {
        let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
        let bits = bytes
            .zip(0..)
            .flat_map(|(byte, at)| (0..8).map(move |bit| (at * 8 + bit, byte >> bit & 1)));
        bits.filter(|(_, bit)| *bit != 0)
            .map(|(page, _)| page)
            .collect()
    }

    proptest! {
        #[test]
        fn a_slots_bits_are_its_blocks_pages(
            first_page in 0_u64..9000,
            len in 1_u64..9000,
            bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..1280),
        ) {
            let mut dirty = DirtyBitmap::clean(20_000);
            let words = kernel_words(&bytes);
            merge_slot(&mut dirty, &slot(first_page, len), &words);
            let noted = kernel_pages(&words).into_iter().filter(|page| *page < len);
            let want: BTreeSet<_> = noted.map(|page| first_page + page).collect();
            prop_assert_eq!(pages(&mut dirty), want);
        }

        #[test]
        fn dirty_pages_of_the_stride_are_cleared(
            first_page in 0_u64..9000,
            len in 1_u64..9000,
            stride in (0_u64..4, 1_u64..5),
            runs in prop::collection::vec((0_u64..18_000, 1_u64..200), 0..40),
        ) {
            let slot = slot(first_page, len);
            let stride = stride.0 * 4096..(stride.0 + stride.1) * 4096;
            let mut dirty = DirtyBitmap::clean(18_000);
            runs.into_iter().for_each(|(page, count)| dirty.mark(page, count));
            let of_slot = first_page..first_page + len;
            let want: BTreeSet<_> = stride
                .clone()
                .filter(|page| of_slot.contains(page) && dirty.contains(*page))
                .collect();
            let mut room = vec![u64::MAX; usize::try_from(len.div_ceil(64)).unwrap()];
            let Some(range) = ClearRange::new(&slot, &dirty, &stride, &mut room) else {
                prop_assert!(want.is_empty());
                return Ok(());
            };
            // What the kernel asks for.
            let end = range.first_page + u64::from(range.pages);
            prop_assert_eq!(range.first_page % 64, 0);
            prop_assert!(range.pages % 64 == 0 || end == len);
            prop_assert!(end <= len);
            prop_assert_eq!(range.words.len(), range.pages.div_ceil(64) as usize);
            let cleared: BTreeSet<_> = kernel_pages(range.words)
                .into_iter()
                .map(|page| first_page + range.first_page + page)
                .collect();
            prop_assert!(cleared.is_superset(&want));
            // None is forgotten: what is cleared is dirty here, and stays so.
            prop_assert!(cleared.iter().all(|page| of_slot.contains(page) && dirty.contains(*page)));
            let near = stride.start.saturating_sub(63)..stride.end + 63;
            prop_assert!(cleared.iter().all(|page| near.contains(page)));
        }
    }
}
