//! Pages on their way to a channel.

use crate::geometry::PageSize;
use crate::memory::BlockIndex;

/// Up to one packet's pages of one block, in the order in which they were queued. Its memory goes
/// round between the host's thread and one channel.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The block, once there is a page.
    pub(crate) block: Option<BlockIndex>,
    /// Byte offsets in the block.
    pub(crate) offsets: Vec<u64>,
    capacity: usize,
}

impl Batch {
    pub(crate) fn new(page_size: PageSize) -> Self {
        let capacity = page_size.pages_per_packet();
        Self {
            block: None,
            offsets: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// How many more pages fit.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.offsets.len())
    }

    pub(crate) fn clear(&mut self) {
        self.block = None;
        self.offsets.clear();
    }
}
