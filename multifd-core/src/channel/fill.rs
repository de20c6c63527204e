//! Packets that arrive fill guest memory.

use std::sync::OnceLock;

use super::device_state::DeviceStateSink;
use super::populate::{no_page, populate};
use super::recv::outside;
use super::round::RoundPages;
use super::sink::{Arrived, PageSink, PageTarget, not_announced};
use crate::error::{Error, Fault};
use crate::geometry::PageSize;
use crate::memory::{Access, BlockIndex, GuestMemory, PageBitmap, RamBlock, Span};
use crate::pages::{PageRuns, PagesError};
use crate::wire::BlockName;

/// The guest of a destination: its memory, once that is attached.
pub(crate) struct GuestTarget {
    device_state: Option<DeviceStateSink>,
    guest: OnceLock<Guest>,
}

/// Guest memory, and which of its pages have arrived.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) memory: GuestMemory,
    pub(crate) received: PageBitmap,
    /// Which pages have been mapped to be written to: nothing that happens elsewhere makes them go.
    mapped: PageBitmap,
    /// How many pages come between two barriers.
    pub(crate) round: RoundPages,
    /// The memory was all zero at the start: a zero page that arrives first need not be written.
    zeroed: bool,
}

impl GuestTarget {
    pub(crate) fn new(device_state: Option<DeviceStateSink>) -> Self {
        Self {
            device_state,
            guest: OnceLock::new(),
        }
    }

    /// Says what the memory is; answers whether that was not known yet.
    pub(crate) fn attach(&self, memory: GuestMemory, zeroed: bool) -> bool {
        let pages = memory.total_bytes() / memory.page_size().bytes_u64();
        let guest = Guest {
            received: PageBitmap::new(&memory),
            mapped: PageBitmap::new(&memory),
            round: RoundPages::new(pages),
            memory,
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

    fn barrier(&self) {
        if let Some(guest) = self.guest.get() {
            guest.round.restart();
        }
    }

    fn sink(&self, page_size: PageSize) -> GuestSink<'_> {
        GuestSink {
            target: self,
            page_size,
            populate: true,
            runs: PageRuns::new(page_size),
        }
    }
}

impl Guest {
    /// Clears a page that arrives as a zero page.
    ///
    /// # Errors
    /// The system cannot provide it.
    pub(crate) fn clear(
        &self,
        block: BlockIndex,
        offset: u64,
        page: &Span<'_>,
    ) -> Result<(), Error> {
        let untouched = self.zeroed && !self.received.contains(block, offset);
        if !untouched && !self.mapped.contains(block, offset) {
            // To look at it may need room as well.
            page.populate(Access::Read)
                .map_err(|fault| no_page(fault, offset))?;
        }
        self.clear_readable(block, offset, page)
    }

    /// The same of a page that can be read, unless it need not be written.
    fn clear_readable(&self, block: BlockIndex, offset: u64, page: &Span<'_>) -> Result<(), Error> {
        let first = !self.received.mark(block, offset);
        if self.zeroed && first || page.is_zero() {
            return Ok(());
        }
        if !self.mapped.contains(block, offset) {
            page.populate(Access::Write)
                .map_err(|fault| no_page(fault, offset))?;
            self.mapped.mark(block, offset);
        }
        page.clear();
        Ok(())
    }
}

/// Fills guest memory with the pages of one channel.
pub(crate) struct GuestSink<'t> {
    target: &'t GuestTarget,
    page_size: PageSize,
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

    fn count(block: &GuestBlock<'t>, pages: usize) -> Result<(), Error> {
        block.guest.round.add(pages)
    }

    fn take(&mut self, block: GuestBlock<'t>, packet: Arrived<'_>) -> Result<(), Error> {
        let GuestBlock { guest, index, ram } = block;
        let (normal, zero) = (packet.pages.normal, packet.pages.zero);
        if !normal.is_empty() {
            self.set(ram, normal)?;
            self.map(block, normal, Access::Write)?;
            for offset in normal {
                guest.mapped.mark(index, *offset);
            }
            (packet.payload)(&mut self.runs)?;
            for offset in normal {
                guest.received.mark(index, *offset);
            }
        }
        let look = !zero.is_empty() && !guest.zeroed;
        if look {
            // All of them are looked at.
            self.set(ram, zero)?;
            self.map(block, zero, Access::Read)?;
        }
        for offset in zero {
            let page = ram.span(*offset, self.page_size.bytes());
            let page = page.ok_or_else(|| outside(ram.len(), *offset))?;
            match look {
                true => guest.clear_readable(index, *offset, &page)?,
                false => guest.clear(index, *offset, &page)?,
            }
        }
        Ok(())
    }

    fn device_state(&self) -> Option<&DeviceStateSink> {
        self.target.device_state.as_ref()
    }
}

impl<'t> GuestSink<'t> {
    fn set(&mut self, ram: &'t RamBlock, offsets: &[u64]) -> Result<(), Error> {
        self.runs.set(ram, offsets).map_err(|error| match error {
            PagesError::Outside { offset } => outside(ram.len(), offset),
            error => Error::new(Fault::Peer, error),
        })
    }

    /// Has the system provide the pages that are set, at these offsets, unless all of them are there.
    fn map(&mut self, block: GuestBlock<'_>, offsets: &[u64], access: Access) -> Result<(), Error> {
        let GuestBlock { guest, index, .. } = block;
        let is_mapped = |offset: &u64| guest.mapped.contains(index, *offset);
        if !self.populate || offsets.iter().all(is_mapped) {
            return Ok(());
        }
        self.populate = populate(&self.runs.pages(), offsets, access)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::memory::{Mapping, PageFault};
    use crate::wire::PageOffsets;

    const PAGE: u64 = 4096;

    /// A guest of four pages, of which the file has only the first two any more.
    fn target(zeroed: bool) -> GuestTarget {
        let mapping = Mapping::shortened_file(4 * 4096, 2 * PAGE).unwrap();
        let block = RamBlock::new(BlockName::new("ram").unwrap(), Arc::new(mapping)).unwrap();
        let memory = GuestMemory::new(PageSize::X86, vec![block]).unwrap();
        let target = GuestTarget::new(None);
        assert!(target.attach(memory, zeroed));
        target
    }

    /// Whether the system can be asked for pages.
    fn can_populate(target: &GuestTarget) -> bool {
        let memory = &target.guest().unwrap().memory;
        let page = memory.blocks()[0].span(0, 4096).unwrap();
        page.populate(Access::Write).unwrap()
    }

    /// A packet arrives whose normal pages are filled with `byte`.
    fn take(target: &GuestTarget, normal: &[u64], zero: &[u64], byte: u8) -> Result<(), Error> {
        let mut sink = target.sink(PageSize::X86);
        let block = sink.find(b"ram").unwrap().unwrap();
        let mut payload = |runs: &mut PageRuns<'_>| {
            for page in runs.pages_mut().iter() {
                page.copy_from(&[byte; 4096]);
            }
            Ok(())
        };
        let packet = Arrived {
            pages: PageOffsets { normal, zero },
            wire_bytes: 0,
            payload: &mut payload,
        };
        sink.take(block, packet)
    }

    fn refused(taken: Result<(), Error>, offset: u64, want: &str) {
        let error = taken.unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(error.place().offset, Some(offset));
        assert!(error.to_string().contains(want), "{error}");
        assert!(error.cause().is::<PageFault>());
    }

    #[test]
    fn a_page_for_which_there_is_no_room_is_an_error() {
        for zeroed in [true, false] {
            let target = target(zeroed);
            if !can_populate(&target) {
                return;
            }
            take(&target, &[0, PAGE], &[], 7).unwrap();
            refused(
                take(&target, &[PAGE, 2 * PAGE, 3 * PAGE], &[], 7),
                2 * PAGE,
                "no room for the guest's memory",
            );
        }
    }

    #[test]
    fn a_page_that_was_a_zero_page_before_is_one_too() {
        let target = target(true);
        if !can_populate(&target) {
            return;
        }
        // As all was zero, it need not be touched.
        take(&target, &[], &[0, 2 * PAGE, 3 * PAGE], 7).unwrap();
        refused(take(&target, &[3 * PAGE], &[], 7), 3 * PAGE, "no room");
        let again = take(&target, &[], &[0, 2 * PAGE], 7);
        refused(again, 2 * PAGE, "cannot be read");
    }

    #[test]
    fn a_page_that_must_be_looked_at_is_one_too() {
        let target = target(false);
        if !can_populate(&target) {
            return;
        }
        refused(
            take(&target, &[], &[2 * PAGE], 7),
            2 * PAGE,
            "cannot be read",
        );
        let guest = target.guest().unwrap();
        let (index, block) = guest.memory.find(b"ram").unwrap();
        let page = |at| block.span(at, 4096).unwrap();
        refused(
            guest.clear(index, 3 * PAGE, &page(3 * PAGE)),
            3 * PAGE,
            "cannot be read",
        );
    }

    #[test]
    fn what_is_not_zero_is_cleared_whoever_wrote_it() {
        for zeroed in [true, false] {
            let target = target(zeroed);
            let guest = target.guest().unwrap();
            let (index, block) = guest.memory.find(b"ram").unwrap();
            let page = |at| block.span(at, 4096).unwrap();
            if !zeroed {
                page(PAGE).copy_from(&[9; 4096]);
            }
            take(&target, &[0], &[PAGE], 7).unwrap();
            assert!(!page(0).is_zero() && page(PAGE).is_zero());
            take(&target, &[PAGE], &[0], 7).unwrap();
            assert!(page(0).is_zero() && !page(PAGE).is_zero());
            guest.clear(index, PAGE, &page(PAGE)).unwrap();
            assert!(page(PAGE).is_zero());
            assert_eq!(guest.received.count(), 2);
        }
    }
}
