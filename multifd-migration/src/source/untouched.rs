// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pages that nobody has touched, told from the others.

use multifd_core::{PageSize, RamBlock};

use crate::dirty::{Chunk, PAGES_PER_CHUNK, WORDS_PER_CHUNK, words_of};

/// Takes the pages out of a chunk of a block that [nobody has touched](RamBlock::for_each_touched): they are zero.
///
/// As with reading them: what is written to them later is in the dirty log, which is cleared of the chunk before.
pub(super) fn take_untouched(block: &RamBlock, page_size: PageSize, chunk: &mut Chunk) -> Chunk {
    let page = page_size.bytes_u64();
    let start = chunk.first_page.saturating_mul(page);
    let len = PAGES_PER_CHUNK * page;
    let mut touched = [0; WORDS_PER_CHUNK];
    block.for_each_touched(start..start.saturating_add(len), &mut |part| {
        let pages = (part.start - start) / page..(part.end - start).div_ceil(page);
        for (word, bits) in words_of(pages) {
            if let Some(word) = touched.get_mut(word) {
                *word |= bits;
            }
        }
    });
    let mut untouched = chunk.clone();
    let words = untouched.words.iter_mut().zip(&mut chunk.words);
    for ((untouched, dirty), touched) in words.zip(touched) {
        *untouched &= !touched;
        *dirty &= touched;
    }
    untouched
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::ptr::NonNull;
    use std::sync::Arc;

    use multifd_core::memory::{Mapping, RamRegion};
    use multifd_core::wire::BlockName;
    use proptest::prelude::*;

    use super::*;

    /// Memory of which some parts have been touched.
    struct Known {
        mapping: Mapping,
        touched: Vec<Range<u64>>,
    }

    #[allow(unsafe_code, reason = "memory with an answer of its own")]
    // SAFETY: the bytes are those of the mapping, which lives as long.
    unsafe impl RamRegion for Known {
        fn base(&self) -> NonNull<u8> {
            self.mapping.base()
        }

        fn len(&self) -> usize {
            self.mapping.len()
        }

        fn for_each_touched(&self, _: Range<u64>, act: &mut dyn FnMut(Range<u64>)) {
            self.touched.iter().cloned().for_each(act);
        }
    }

    fn chunk(first_page: u64, words: &[u64]) -> Chunk {
        let mut chunk = Chunk {
            first_page,
            words: [0; WORDS_PER_CHUNK],
        };
        for (to, from) in chunk.words.iter_mut().zip(words) {
            *to = *from;
        }
        chunk
    }

    proptest! {
        #[test]
        fn each_dirty_page_is_on_one_side(
            parts in prop::collection::vec((0_u64..33 << 20, 0_u64..1 << 20), 0..12),
            words in prop::collection::vec(any::<u64>(), WORDS_PER_CHUNK),
            second in any::<bool>(),
        ) {
            // Half a chunk more than one, of which an answer may reach out.
            let mapping = Mapping::anonymous(24 << 20).unwrap();
            let touched: Vec<_> = parts.iter().map(|(at, len)| *at..at + len).collect();
            let region = Arc::new(Known { mapping, touched: touched.clone() });
            let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
            let dirty = chunk(if second { PAGES_PER_CHUNK } else { 0 }, &words);
            let mut rest = dirty.clone();
            let untouched = take_untouched(&block, PageSize::X86, &mut rest);
            for run in dirty.runs() {
                for page in run.first_page..run.first_page + run.pages {
                    let bytes = page * 4096..(page + 1) * 4096;
                    let is_touched = touched.iter().any(|part| {
                        let (start, end) = (part.start.max(bytes.start), part.end.min(bytes.end));
                        start < end && end <= 24 << 20
                    });
                    let has = |chunk: &Chunk| {
                        let at = page - chunk.first_page;
                        chunk.words[usize::try_from(at / 64).unwrap()] >> (at % 64) & 1 != 0
                    };
                    prop_assert_eq!(has(&rest), is_touched, "page {}", page);
                    prop_assert_eq!(has(&untouched), !is_touched, "page {}", page);
                }
            }
            prop_assert_eq!(rest.pages() + untouched.pages(), dirty.pages());
        }
    }
}
