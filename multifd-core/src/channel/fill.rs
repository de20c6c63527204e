//! Packets that arrive fill guest memory.

use std::sync::OnceLock;

use super::device_state::DeviceStateSink;
use super::recv::outside;
use super::sink::{Arrived, PageSink, PageTarget, not_announced};
use crate::error::Error;
use crate::geometry::PageSize;
use crate::memory::{BlockIndex, GuestMemory, PageBitmap, RamBlock, Span};
use crate::pages::PageRuns;
use crate::wire::BlockName;

/// The guest of a destination: its memory, once that is attached.
pub(crate) struct GuestTarget {
    page_size: PageSize,
    device_state: Option<DeviceStateSink>,
    guest: OnceLock<Guest>,
}

/// Guest memory, and which of its pages have arrived.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) memory: GuestMemory,
    pub(crate) received: PageBitmap,
    /// The memory was all zero at the start: a zero page that arrives first need not be written.
    zeroed: bool,
}

impl GuestTarget {
    pub(crate) fn new(page_size: PageSize, device_state: Option<DeviceStateSink>) -> Self {
        Self {
            page_size,
            device_state,
            guest: OnceLock::new(),
        }
    }

    /// Says what the memory is; answers whether that was not known yet.
    pub(crate) fn attach(&self, memory: GuestMemory, zeroed: bool) -> bool {
        let received = PageBitmap::new(&memory);
        let guest = Guest {
            memory,
            received,
            zeroed,
        };
        self.guest.set(guest).is_ok()
    }

    pub(crate) fn guest(&self) -> Option<&Guest> {
        self.guest.get()
    }
}

impl PageTarget for GuestTarget {
    type Sink<'t> = GuestSink<'t>;

    fn sink(&self) -> GuestSink<'_> {
        GuestSink {
            target: self,
            populate: true,
            runs: PageRuns::new(self.page_size),
        }
    }
}

impl Guest {
    /// Clears a page that arrives as a zero page.
    pub(crate) fn clear(&self, block: BlockIndex, offset: u64, page: &Span<'_>) {
        if self.received.mark(block, offset) || !self.zeroed {
            page.clear();
        }
    }

    /// Whether the first of the pages has not been written to yet; the others are like it, mostly.
    fn is_new(&self, block: BlockIndex, offsets: &[u64]) -> bool {
        offsets
            .first()
            .is_some_and(|offset| !self.received.contains(block, *offset))
    }
}

/// Fills guest memory with the pages of one channel.
pub(crate) struct GuestSink<'t> {
    target: &'t GuestTarget,
    /// Whether the system can map pages before they are written to.
    populate: bool,
    runs: PageRuns<'t>,
}

/// A block of the guest.
#[derive(Clone, Copy)]
pub(crate) struct GuestBlock<'t> {
    guest: &'t Guest,
    index: BlockIndex,
    ram: &'t RamBlock,
}

impl<'t> PageSink for GuestSink<'t> {
    type Block = GuestBlock<'t>;

    fn find(&self, name: &[u8]) -> Result<Option<GuestBlock<'t>>, Error> {
        let guest = self.target.guest.get().ok_or_else(not_announced)?;
        let found = guest.memory.find(name);
        Ok(found.map(|(index, ram)| GuestBlock { guest, index, ram }))
    }

    fn name<'b>(block: &'b GuestBlock<'t>) -> &'b BlockName {
        block.ram.name()
    }

    fn len(block: &GuestBlock<'t>) -> u64 {
        block.ram.len()
    }

    fn take(&mut self, block: GuestBlock<'t>, packet: Arrived<'_>) -> Result<(), Error> {
        let GuestBlock { guest, index, ram } = block;
        let (normal, zero) = (packet.pages.normal, packet.pages.zero);
        if !normal.is_empty() {
            self.runs
                .set(ram, normal)
                .map_err(|offset| outside(ram.len(), offset))?;
            if self.populate && guest.is_new(index, normal) {
                self.populate = self.runs.pages_mut().runs().iter().all(Span::populate);
            }
            (packet.payload)(&mut self.runs)?;
            for offset in normal {
                guest.received.mark(index, *offset);
            }
        }
        for offset in zero {
            let page = ram.span(*offset, self.target.page_size.bytes());
            let page = page.ok_or_else(|| outside(ram.len(), *offset))?;
            guest.clear(index, *offset, &page);
        }
        Ok(())
    }

    fn device_state(&self) -> Option<&DeviceStateSink> {
        self.target.device_state.as_ref()
    }
}
