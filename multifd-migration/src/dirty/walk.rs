// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A walk over the dirty pages of a RAM block, with the log cleared ahead of it.

use multifd_core::memory::BlockIndex;

use super::{Chunk, DirtyBitmap, DirtyLog, PAGES_PER_CHUNK};
use crate::HostError;

/// Takes the dirty pages of a block out of its bitmap, a chunk at a time and in order, and has the log
/// [clear](DirtyLog::clear) each of them before.
#[derive(Clone, Debug)]
pub struct Walk {
    block: BlockIndex,
    /// The page to go on with.
    from: u64,
    /// What is dirty before this page has been cleared.
    cleared: u64,
}

impl Walk {
    /// A walk that begins at the block's first page.
    pub fn new(block: BlockIndex) -> Self {
        Self {
            block,
            from: 0,
            cleared: 0,
        }
    }

    /// The next chunk that has dirty pages, which are clean in `dirty` then; they are to be read after this call.
    /// Without a `log` nothing is cleared: the guest is paused.
    ///
    /// # Errors
    /// The log's, and a log that has not cleared the chunk.
    pub fn next(
        &mut self,
        dirty: &mut DirtyBitmap,
        log: Option<&mut dyn DirtyLog>,
    ) -> Result<Option<Chunk>, HostError> {
        let (Some(log), Some(first)) = (log, dirty.next_dirty(self.from)) else {
            return Ok(dirty.take_chunk(&mut self.from));
        };
        if first >= self.cleared {
            self.cleared = log.clear(self.block, dirty, first)?;
            let want = dirty.pages().min(first + PAGES_PER_CHUNK);
            if self.cleared < want {
                let got = self.cleared;
                let what = format!(
                    "the dirty log has cleared the pages from {first} to {got}, wanted {want} at least"
                );
                return Err(what.into());
            }
        }
        Ok(dirty.take_chunk(&mut self.from))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::bitmap::index;
    use super::*;

    const PAGES: u64 = 20_000;

    /// A log as KVM keeps one with manual protection, and the guest's memory. A page that is not protected is not
    /// noted when it is written to: it is noted already, or lost.
    struct Kvm {
        noted: Vec<bool>,
        protected: Vec<bool>,
        /// How often each page was written.
        memory: Vec<u32>,
        /// How many dirty pages, and pages, are cleared at once.
        stride: (u64, u64),
        clears: usize,
    }

    impl Kvm {
        /// All pages count as written to, as with `KVM_DIRTY_LOG_INITIALLY_SET`.
        fn new(stride: (u64, u64)) -> Self {
            let pages = index(PAGES);
            Self {
                noted: vec![true; pages],
                protected: vec![false; pages],
                memory: vec![1; pages],
                stride,
                clears: 0,
            }
        }

        fn write(&mut self, page: u64) {
            let page = index(page);
            self.memory[page] += 1;
            if std::mem::take(&mut self.protected[page]) {
                self.noted[page] = true;
            }
        }
    }

    impl DirtyLog for Kvm {
        fn start(&mut self) -> Result<(), HostError> {
            Ok(())
        }

        fn harvest(&mut self, _: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
            let noted = self.noted.iter().zip(0..).filter(|(noted, _)| **noted);
            noted.for_each(|(_, page)| dirty.mark(page, 1));
            Ok(())
        }

        fn clear(
            &mut self,
            _: BlockIndex,
            dirty: &DirtyBitmap,
            from: u64,
        ) -> Result<u64, HostError> {
            let stride = dirty.stride(from, self.stride.0, self.stride.1);
            assert!(stride.start == from && stride.end <= PAGES, "{stride:?}");
            for word in (stride.start..stride.end).step_by(64) {
                let mut bits = [0];
                dirty.copy_bits(word, &mut bits);
                for page in
                    (word..PAGES.min(word + 64)).filter(|page| bits[0] >> (page - word) & 1 != 0)
                {
                    // Only what was noted is protected again.
                    if std::mem::take(&mut self.noted[index(page)]) {
                        self.protected[index(page)] = true;
                    }
                }
            }
            self.clears += 1;
            Ok(stride.end)
        }

        fn stop(&mut self) {}
    }

    fn block() -> BlockIndex {
        use std::sync::Arc;

        use multifd_core::memory::Mapping;
        use multifd_core::wire::BlockName;
        use multifd_core::{GuestMemory, PageSize, RamBlock};
        let region = Arc::new(Mapping::anonymous(4096).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let memory = GuestMemory::new(PageSize::X86, vec![block]).unwrap();
        memory.indexed().next().unwrap().0
    }

    /// Sends what is dirty, with a few writes behind each clear and each page; ends early after so many chunks.
    fn round(
        kvm: &mut Kvm,
        dirty: &mut DirtyBitmap,
        copy: &mut [u32],
        (mut writes, chunks): (impl Iterator<Item = u64>, usize),
    ) {
        let mut walk = Walk::new(block());
        for _ in 0..chunks {
            let Some(chunk) = walk.next(dirty, Some(kvm)).unwrap() else {
                return;
            };
            for run in chunk.runs() {
                writes.by_ref().take(3).for_each(|page| kvm.write(page));
                let pages = index(run.first_page)..index(run.first_page + run.pages);
                copy[pages.clone()].copy_from_slice(&kvm.memory[pages]);
                writes.by_ref().take(3).for_each(|page| kvm.write(page));
            }
        }
    }

    proptest! {
        #[test]
        fn no_write_is_lost_however_much_is_cleared_at_once(
            stride in (1_u64..10_000, 1_u64..30_000),
            rounds in prop::collection::vec((prop::collection::vec(0..PAGES, 0..200), 0_usize..8), 1..6),
            late in prop::collection::vec(0..PAGES, 0..50),
        ) {
            let mut kvm = Kvm::new(stride);
            let mut dirty = DirtyBitmap::dirty(PAGES);
            let mut copy = vec![0; index(PAGES)];
            for (writes, chunks) in rounds {
                round(&mut kvm, &mut dirty, &mut copy, (writes.into_iter(), chunks));
                kvm.harvest(block(), &mut dirty).unwrap();
            }
            late.into_iter().for_each(|page| kvm.write(page));
            // The guest is paused.
            kvm.harvest(block(), &mut dirty).unwrap();
            let mut walk = Walk::new(block());
            while let Some(chunk) = walk.next(&mut dirty, None).unwrap() {
                for run in chunk.runs() {
                    let pages = index(run.first_page)..index(run.first_page + run.pages);
                    copy[pages.clone()].copy_from_slice(&kvm.memory[pages]);
                }
            }
            prop_assert!(copy == kvm.memory);
        }
    }

    #[test]
    fn few_dirty_pages_are_cleared_at_once_and_many_in_pieces() {
        let clears = |runs: &[(u64, u64)]| {
            let mut kvm = Kvm::new((4096, 16_384));
            let mut dirty = DirtyBitmap::clean(PAGES);
            for (first, count) in runs {
                dirty.mark(*first, *count);
            }
            let mut copy = vec![0; index(PAGES)];
            round(
                &mut kvm,
                &mut dirty,
                &mut copy,
                (std::iter::empty(), usize::MAX),
            );
            assert_eq!(dirty.dirty_pages(), 0);
            kvm.clears
        };
        assert_eq!(clears(&[]), 0);
        assert_eq!(clears(&[(0, PAGES)]), 5);
        // No more than four chunks at once, which begin where something is dirty.
        assert_eq!(clears(&[(5, 1), (16_000, 1)]), 1);
        assert_eq!(clears(&[(5, 1), (17_000, 1)]), 2);
        assert_eq!(clears(&[(5000, 1), (17_000, 1)]), 1);
    }

    #[test]
    fn all_reported_writes_are_seen_once_a_page_is_protected() {
        let mut kvm = Kvm::new((u64::MAX, u64::MAX));
        let mut dirty = DirtyBitmap::dirty(PAGES);
        // One stride over the block, and only its first chunk is sent.
        round(
            &mut kvm,
            &mut dirty,
            &mut vec![0; index(PAGES)],
            (std::iter::empty(), 1),
        );
        assert_eq!(dirty.dirty_pages(), PAGES - PAGES_PER_CHUNK);
        kvm.write(3);
        kvm.write(9999);
        let mut again = DirtyBitmap::clean(PAGES);
        kvm.harvest(block(), &mut again).unwrap();
        let pages: BTreeSet<_> = (0..PAGES).filter(|page| again.contains(*page)).collect();
        assert_eq!(pages, [3, 9999].into());
    }

    /// Says that it has cleared up to a page.
    struct Lazy(u64);

    impl DirtyLog for Lazy {
        fn start(&mut self) -> Result<(), HostError> {
            Ok(())
        }

        fn harvest(&mut self, _: BlockIndex, _: &mut DirtyBitmap) -> Result<(), HostError> {
            Ok(())
        }

        fn clear(&mut self, _: BlockIndex, _: &DirtyBitmap, _: u64) -> Result<u64, HostError> {
            Ok(self.0)
        }

        fn stop(&mut self) {}
    }

    #[test]
    fn pages_that_were_not_cleared_are_not_sent() {
        for (cleared, is_enough) in [(0, false), (8191, false), (8192, true), (u64::MAX, true)] {
            let mut dirty = DirtyBitmap::clean(PAGES);
            dirty.mark(5000, 1);
            let next = Walk::new(block()).next(&mut dirty, Some(&mut Lazy(cleared)));
            assert_eq!(next.is_ok(), is_enough, "{cleared}");
            assert_eq!(dirty.dirty_pages() == 0, is_enough);
        }
        let mut dirty = DirtyBitmap::dirty(70);
        let next = Walk::new(block()).next(&mut dirty, Some(&mut Lazy(70)));
        assert!(next.is_ok(), "the block has no more");
    }
}
