//! Packets that arrive fill guest memory.

use super::Target;
use super::recv::{Packet, RecvChannel, outside, recv_payload};
use crate::error::Error;
use crate::memory::{BlockIndex, RamBlock, Span};
use crate::pages::PageRuns;

impl RecvChannel<'_> {
    /// Fills the pages of a packet, which are known to be in the block.
    pub(super) fn fill<'m>(
        &mut self,
        target: &'m Target,
        (block, ram): (BlockIndex, &'m RamBlock),
        packet: &Packet,
        runs: &mut PageRuns<'m>,
    ) -> Result<(), Error> {
        let (normal, zero) = (&self.normal, &self.zero);
        if !normal.is_empty() {
            runs.set(ram, normal)
                .map_err(|offset| outside(ram.len(), offset))?;
            if self.populate && is_new(target, block, normal) {
                self.populate = runs.pages_mut().runs().iter().all(Span::populate);
            }
            recv_payload(&mut *self.method, &mut self.reader, packet, runs)?;
            self.counters.path(self.method.paths());
            for offset in normal {
                target.received.mark(block, *offset);
            }
        }
        for offset in zero {
            let received = target.received.mark(block, *offset);
            if received || !target.zeroed {
                let page = ram.span(*offset, self.page_size.bytes());
                page.ok_or_else(|| outside(ram.len(), *offset))?.clear();
            }
        }
        Ok(())
    }
}

/// Whether the first of the pages has not been written to yet; the others are like it, mostly.
fn is_new(target: &Target, block: BlockIndex, offsets: &[u64]) -> bool {
    offsets
        .first()
        .is_some_and(|offset| !target.received.contains(block, *offset))
}
