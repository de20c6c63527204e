// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where dirty pages are learnt of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use multifd_core::GuestMemory;
use multifd_core::memory::BlockIndex;

use super::DirtyBitmap;
use crate::HostError;

/// What tells which pages the guest has written to: KVM's dirty log, a dirty ring, or bits that the
/// hypervisor sets itself.
///
/// A migration makes these calls and no others, all on the thread that runs it, while vCPUs and devices run:
///
/// 1. [`start`](Self::start), once. If it fails, that was all.
/// 2. A round over the memory: for each block, in the order of the blocks, [`clear`](Self::clear) as often as it
///    takes. The first round is over all pages.
/// 3. A fetch: [`fetch`](Self::fetch) once, then [`harvest`](Self::harvest) once for each block, in the order of the
///    blocks, from the first to the last. Then 2 again; or another fetch, without a round between them.
/// 4. With the guest paused and its devices saved, one more fetch. Its pages are sent without `clear`.
///    Another one follows if [`SourceConfig::check_pause`](crate::SourceConfig::check_pause) is set.
/// 5. [`stop`](Self::stop), once.
///
/// A call that fails ends the migration, and so may others at any time: then `stop` is the next call, and the last.
/// So a log that has all blocks in one piece and forgets what it tells takes it in `fetch`, and hands it out in
/// `harvest`: [`VmDirtyLog`](super::VmDirtyLog) does.
pub trait DirtyLog {
    /// From now on every write to guest memory is noted. All pages count as dirty at this moment;
    /// they need not be reported.
    ///
    /// # Errors
    /// Writes cannot be noted: the migration fails, and the guest runs on.
    fn start(&mut self) -> Result<(), HostError>;

    /// A fetch begins: what was written before this call is reported by the calls of
    /// [`harvest`](Self::harvest) that follow, or by some later ones; all of it once the guest is paused. For a log that does not know of blocks, or
    /// whose parts are best asked at once.
    ///
    /// # Errors
    /// As [`Self::start`].
    fn fetch(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    /// Adds the pages of `block` that were written to since they were last reported. Each write is
    /// reported by some later fetch if not by this one. Once the guest is paused, a fetch reports
    /// all that is left.
    ///
    /// # Errors
    /// As [`Self::start`].
    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError>;

    /// The dirty pages of `block` are about to be read and sent, in order from the page `from` on, which begins a
    /// chunk that has some: a write to one of them after this call is to be reported again. Returns the page that it
    /// is done up to, at least the chunk's last one; `dirty` has all that may be cleared, and other pages must not be forgotten.
    /// Called again when the round gets to a dirty page that the answer does not cover.
    ///
    /// This is where write protection comes back, as late as possible (`KVM_CLEAR_DIRTY_LOG`). How much of it at
    /// once, the log decides, by [`DirtyBitmap::stride`] for instance: every piece costs a call of the kernel's and
    /// has all vCPUs flush their TLBs, and what is cleared long before it is sent may have to be sent twice. What
    /// was cleared and is not sent in this round stays dirty here.
    ///
    /// A log whose [`harvest`](Self::harvest) does it already leaves this as it is. It is not called once the guest is paused.
    ///
    /// # Errors
    /// As [`Self::start`].
    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        let _ = (block, dirty, from);
        Ok(u64::MAX)
    }

    /// Writes need not be noted any more. Called once for each [`Self::start`] that worked, whether
    /// the migration did or not.
    fn stop(&mut self);
}

/// A dirty log in software: whoever writes to guest memory marks the pages. For what the hypervisor
/// and its devices write themselves, which KVM does not see.
///
/// A clone is the same log. Marks that are set while no migration runs cost one atomic operation per
/// page, and are forgotten at the next start.
#[derive(Clone, Debug)]
pub struct SoftwareLog {
    page_bytes: u64,
    blocks: Arc<[Box<[AtomicU64]>]>,
}

impl SoftwareLog {
    /// A log for all blocks of `memory`.
    pub fn new(memory: &GuestMemory) -> Self {
        let page_bytes = memory.page_size().bytes_u64();
        let words = |len: u64| (len / page_bytes).div_ceil(64);
        let block = |len| (0..words(len)).map(|_| AtomicU64::new(0)).collect();
        Self {
            page_bytes,
            blocks: memory.blocks().iter().map(|ram| block(ram.len())).collect(),
        }
    }

    /// Marks the pages of `len` bytes at `offset` of a block, *after* they were written to. From any
    /// thread. What is outside the block is left out.
    pub fn mark_range(&self, block: BlockIndex, offset: u64, len: u64) {
        let Some(words) = self.words(block) else {
            return;
        };
        if len == 0 {
            return;
        }
        let last = offset.saturating_add(len - 1) / self.page_bytes;
        let most = (words.len() as u64 * 64).saturating_sub(1);
        for page in offset / self.page_bytes..=last.min(most) {
            if let Some(word) = usize::try_from(page / 64).ok().and_then(|at| words.get(at)) {
                // The write to guest memory comes before the mark: whoever takes the mark and then
                // reads the page finds it.
                word.fetch_or(1 << (page % 64), Ordering::Release);
            }
        }
    }

    fn words(&self, block: BlockIndex) -> Option<&[AtomicU64]> {
        self.blocks.get(block.position()).map(AsRef::as_ref)
    }
}

impl DirtyLog for SoftwareLog {
    fn start(&mut self) -> Result<(), HostError> {
        for word in self.blocks.iter().flat_map(|block| block.iter()) {
            // Acquire: what was written before a mark that is forgotten here is read by the first
            // round.
            word.swap(0, Ordering::Acquire);
        }
        Ok(())
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        let words = self.words(block).ok_or("the log has no such RAM block")?;
        for (at, word) in words.iter().enumerate() {
            if word.load(Ordering::Relaxed) != 0 {
                let bits = word.swap(0, Ordering::Acquire);
                dirty.merge(at as u64 * 64, &[bits]);
            }
        }
        Ok(())
    }

    fn stop(&mut self) {}
}

/// Two logs as one: a page is dirty if either says so. What KVM sees, and what devices mark.
#[derive(Clone, Copy, Debug)]
pub struct BothLogs<A, B>(pub A, pub B);

impl<A: DirtyLog, B: DirtyLog> DirtyLog for BothLogs<A, B> {
    fn start(&mut self) -> Result<(), HostError> {
        self.0.start()?;
        self.1.start().inspect_err(|_| self.0.stop())
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        self.0.fetch()?;
        self.1.fetch()
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        self.0.harvest(block, dirty)?;
        self.1.harvest(block, dirty)
    }

    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        let cleared = self.0.clear(block, dirty, from)?;
        Ok(cleared.min(self.1.clear(block, dirty, from)?))
    }

    fn stop(&mut self) {
        self.0.stop();
        self.1.stop();
    }
}

impl<L: DirtyLog + ?Sized> DirtyLog for Box<L> {
    fn start(&mut self) -> Result<(), HostError> {
        (**self).start()
    }

    fn fetch(&mut self) -> Result<(), HostError> {
        (**self).fetch()
    }

    fn harvest(&mut self, block: BlockIndex, dirty: &mut DirtyBitmap) -> Result<(), HostError> {
        (**self).harvest(block, dirty)
    }

    fn clear(
        &mut self,
        block: BlockIndex,
        dirty: &DirtyBitmap,
        from: u64,
    ) -> Result<u64, HostError> {
        (**self).clear(block, dirty, from)
    }

    fn stop(&mut self) {
        (**self).stop();
    }
}

/// The log of a guest that stands still.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWrites;

impl DirtyLog for NoWrites {
    fn start(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn harvest(&mut self, _: BlockIndex, _: &mut DirtyBitmap) -> Result<(), HostError> {
        Ok(())
    }

    fn stop(&mut self) {}
}

#[cfg(test)]
mod tests {
    use multifd_core::memory::Mapping;
    use multifd_core::wire::BlockName;
    use multifd_core::{PageSize, RamBlock};

    use super::*;

    #[test]
    fn a_block_that_the_log_does_not_have_is_not_taken_for_clean() {
        let (small, large) = (memory(1), memory(2));
        let mut log = SoftwareLog::new(&small);
        log.start().unwrap();
        let mut dirty = DirtyBitmap::clean(16);
        for ((index, _), is_known) in large.indexed().zip([true, false]) {
            let harvested = log.harvest(index, &mut dirty);
            assert_eq!(harvested.is_ok(), is_known, "{index:?}");
        }
    }

    fn memory(blocks: usize) -> GuestMemory {
        let block = |number| {
            let region = Arc::new(Mapping::anonymous(16 << 12).unwrap());
            RamBlock::new(BlockName::new(&format!("ram{number}")).unwrap(), region).unwrap()
        };
        GuestMemory::new(PageSize::default(), (0..blocks).map(block).collect()).unwrap()
    }
}
