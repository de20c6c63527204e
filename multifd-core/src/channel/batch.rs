// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Batches of pages on their way to a channel, and into packets.

use super::copies::Copies;
use super::failure::caller;
use super::send::SendChannel;
use crate::error::{Error, Place};
use crate::geometry::PageSize;
use crate::memory::{BlockIndex, CopyWindow, GuestMemory, RamBlock};
use crate::wire::PageOffsets;

/// Up to one packet's pages of one block, in the order in which they were queued. Its memory goes
/// round between the host's thread and one channel.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The block, once there is a page.
    pub(crate) block: Option<BlockIndex>,
    /// Byte offsets in the block.
    pub(crate) offsets: Vec<u64>,
    /// Those of pages that nobody has touched, and that are not read.
    pub(crate) untouched: Vec<u64>,
    capacity: usize,
}

impl Batch {
    pub(crate) fn new(page_size: PageSize) -> Self {
        let capacity = page_size.pages_per_packet();
        Self {
            block: None,
            offsets: Vec::with_capacity(capacity),
            untouched: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// How many pages there are.
    pub(crate) fn len(&self) -> usize {
        self.offsets.len() + self.untouched.len()
    }

    /// How many more pages fit.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.len())
    }

    pub(crate) fn clear(&mut self) {
        self.block = None;
        self.offsets.clear();
        self.untouched.clear();
    }
}

/// What a channel does with pages that are all zero.
#[derive(Clone, Copy)]
pub(crate) enum Zeros<'m> {
    /// It looks for them, and lists them without payload.
    Listed,
    /// They are sent as all others are. The content of those that nobody has touched is taken from here, a packet of
    /// zeros.
    Sent(&'m RamBlock),
}

/// The sending end of one channel that takes batches, as its thread sees it.
pub(crate) struct BatchChannel<'m> {
    pub(crate) channel: SendChannel<'m>,
    memory: &'m GuestMemory,
    zero_pages: Option<ZeroPages>,
    /// Zeros, and the offsets of its pages, if zero pages are sent.
    zeros: Option<(&'m RamBlock, Vec<u64>)>,
    /// For pages that may go while they are read, if any may.
    copies: Option<Copies<'m>>,
}

impl<'m> BatchChannel<'m> {
    /// A channel that sends pages of `memory`.
    pub(crate) fn new(
        channel: SendChannel<'m>,
        memory: &'m GuestMemory,
        zeros: Zeros<'m>,
        window: Option<&'m CopyWindow>,
    ) -> Self {
        let page_size = memory.page_size();
        let (zero_pages, zeros) = match zeros {
            Zeros::Listed => (Some(ZeroPages::new(page_size)), None),
            Zeros::Sent(zeros) => {
                let offsets = (0..).step_by(page_size.bytes());
                let offsets = offsets.take(page_size.pages_per_packet());
                (None, Some((zeros, offsets.collect())))
            }
        };
        Self {
            channel,
            memory,
            zero_pages,
            zeros,
            copies: window.map(|window| Copies::new(window, memory.page_size())),
        }
    }

    /// Sends a batch as one packet; an empty batch is none. Where zero pages are sent, it has pages of one kind.
    pub(crate) fn send(&mut self, batch: &mut Batch) -> Result<(), Error> {
        if batch.len() == 0 {
            return Ok(());
        }
        let block = batch.block.and_then(|index| self.memory.block(index));
        let block = block.ok_or_else(|| caller("a batch of no block of this memory"))?;
        if let (Some((zeros, places)), false) = (&self.zeros, batch.untouched.is_empty()) {
            let pages = PageOffsets {
                normal: &batch.untouched,
                zero: &[],
            };
            let places = places.get(..batch.untouched.len()).unwrap_or_default();
            return self
                .channel
                .send_pages(block.name(), pages, (zeros, places));
        }
        if let Some(copies) = self.copies.as_mut().filter(|_| block.may_shrink()) {
            let detect = self.zero_pages.is_some();
            copies
                .take(block, (&batch.offsets, &batch.untouched), detect)
                .map_err(|error| error.at(Place::default().block(block.name().as_str())))?;
            return self
                .channel
                .send_pages(block.name(), copies.pages(), copies.content());
        }
        let pages = match &mut self.zero_pages {
            Some(zero_pages) => zero_pages.sort(block, batch),
            None => PageOffsets {
                normal: &batch.offsets,
                zero: &[],
            },
        };
        self.channel
            .send_pages(block.name(), pages, (block, pages.normal))
    }
}

/// Tells normal pages from zero pages. The order inside each kind stays, so that runs of adjacent
/// pages stay whole.
#[derive(Debug)]
struct ZeroPages {
    zero: Vec<u64>,
    page_size: PageSize,
}

impl ZeroPages {
    fn new(page_size: PageSize) -> Self {
        Self {
            zero: Vec::with_capacity(page_size.pages_per_packet()),
            page_size,
        }
    }

    /// Takes the zero pages out of a batch of a block.
    fn sort<'b>(&'b mut self, block: &RamBlock, batch: &'b mut Batch) -> PageOffsets<'b> {
        let offsets = &mut batch.offsets;
        self.zero.clear();
        self.zero.extend_from_slice(&batch.untouched);
        offsets.retain(|offset| {
            let is_zero = is_zero_page(block, *offset, self.page_size);
            if is_zero {
                self.zero.push(*offset);
            }
            !is_zero
        });
        PageOffsets {
            normal: offsets,
            zero: &self.zero,
        }
    }
}

/// Whether a page is all zero. One outside the block is not; who sends it will notice.
pub(crate) fn is_zero_page(block: &RamBlock, offset: u64, page_size: PageSize) -> bool {
    let page = block.span(offset, page_size.bytes());
    page.is_some_and(|page| page.is_zero())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::Mapping;
    use crate::wire::BlockName;

    proptest! {
        #[test]
        fn as_a_naive_stable_partition(content in prop::collection::vec(any::<bool>(), 1..128)) {
            let region = Arc::new(Mapping::anonymous(content.len() * 4096).unwrap());
            let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
            let mut batch = Batch::new(PageSize::X86);
            for (offset, is_normal) in (0..).step_by(4096).zip(&content) {
                batch.offsets.push(offset);
                if *is_normal {
                    block.span(offset + 4095, 1).unwrap().copy_from(&[1]);
                }
            }
            let is_normal = |offset: &u64| content[usize::try_from(offset / 4096).unwrap()];
            let offsets = batch.offsets.iter();
            let (normal, zero): (Vec<u64>, Vec<u64>) = offsets.partition(|o| is_normal(o));

            let mut zero_pages = ZeroPages::new(PageSize::X86);
            let sorted = zero_pages.sort(&block, &mut batch);
            prop_assert_eq!(sorted.normal, normal);
            prop_assert_eq!(sorted.zero, zero);
        }
    }
}
