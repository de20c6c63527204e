// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

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
    start: AtStart,
}

/// What is known of memory before the first page comes.
#[derive(Debug)]
enum AtStart {
    /// All of it is zero.
    Zeroed,
    /// What is marked may be anything, the rest has never been touched and is zero.
    Touched(PageBitmap),
}

impl GuestTarget {
    pub(crate) fn new(device_state: Option<DeviceStateSink>) -> Self {
        Self {
            device_state,
            guest: OnceLock::new(),
        }
    }

    /// Says what the memory is; returns whether that was not known yet.
    pub(crate) fn attach(&self, memory: GuestMemory, zeroed: bool) -> bool {
        let pages = memory.total_bytes() / memory.page_size().bytes_u64();
        let guest = Guest {
            received: PageBitmap::new(&memory),
            mapped: PageBitmap::new(&memory),
            round: RoundPages::new(pages),
            start: AtStart::of(&memory, zeroed),
            memory,
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
            looked_at: Vec::with_capacity(page_size.pages_per_packet()),
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
        if !self.is_still_zero(block, offset) && !self.mapped.contains(block, offset) {
            // To look at it may need room as well.
            page.populate(Access::Read)
                .map_err(|fault| no_page(fault, offset))?;
        }
        self.clear_readable(block, offset, page)
    }

    /// Whether a page was zero at the start, and has not come since: it need not be touched to be zero.
    fn is_still_zero(&self, block: BlockIndex, offset: u64) -> bool {
        self.start.is_zero(block, offset) && !self.received.contains(block, offset)
    }

    /// The same of a page that can be read, unless it need not be written.
    fn clear_readable(&self, block: BlockIndex, offset: u64, page: &Span<'_>) -> Result<(), Error> {
        let first = !self.received.mark(block, offset);
        if first && self.start.is_zero(block, offset) || page.is_zero() {
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

impl AtStart {
    /// Looks at memory that is not known to be all zero.
    fn of(memory: &GuestMemory, zeroed: bool) -> Self {
        if zeroed {
            return Self::Zeroed;
        }
        let touched = PageBitmap::new(memory);
        for (index, block) in memory.indexed() {
            block.for_each_touched(0..block.len(), &mut |part| touched.mark_range(index, &part));
        }
        Self::Touched(touched)
    }

    fn is_zero(&self, block: BlockIndex, offset: u64) -> bool {
        match self {
            Self::Zeroed => true,
            Self::Touched(touched) => !touched.contains(block, offset),
        }
    }
}

/// Fills guest memory with the pages of one channel.
pub(crate) struct GuestSink<'t> {
    target: &'t GuestTarget,
    page_size: PageSize,
    /// Whether the system can map pages before they are written to.
    populate: bool,
    runs: PageRuns<'t>,
    /// Zero pages of a packet that have to be looked at.
    looked_at: Vec<u64>,
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
        self.make_readable(block, zero)?;
        for offset in zero {
            let page = ram.span(*offset, self.page_size.bytes());
            let page = page.ok_or_else(|| outside(ram.len(), *offset))?;
            guest.clear_readable(index, *offset, &page)?;
        }
        Ok(())
    }

    fn device_state(&self) -> Option<&DeviceStateSink> {
        self.target.device_state.as_ref()
    }
}

impl<'t> GuestSink<'t> {
    /// Has the system provide those zero pages of a packet that have to be looked at.
    fn make_readable(&mut self, block: GuestBlock<'t>, zero: &[u64]) -> Result<(), Error> {
        let mut looked_at = std::mem::take(&mut self.looked_at);
        let is_looked_at = |offset: &&u64| !block.guest.is_still_zero(block.index, **offset);
        looked_at.clear();
        looked_at.extend(zero.iter().filter(is_looked_at));
        let made = match looked_at.is_empty() {
            true => Ok(()),
            false => self
                .set(block.ram, &looked_at)
                .and_then(|()| self.map(block, &looked_at, Access::Read)),
        };
        self.looked_at = looked_at;
        made
    }

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
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::sync::Arc;

    use super::*;
    use crate::memory::{Mapping, PageFault, memfd};
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
    fn a_hole_stays_a_hole_and_what_was_written_is_cleared() {
        let file = File::from(memfd(c"ram", 8 * 4096).unwrap());
        let held = || file.metadata().unwrap().blocks() / 8;
        let mut mapping = Mapping::shared(file.as_fd(), 8 * 4096).unwrap();
        mapping.learn_untouched(Some(file.as_fd())).unwrap();
        let block = RamBlock::new(BlockName::new("ram").unwrap(), Arc::new(mapping)).unwrap();
        let page = |at: u64| block.span(at * PAGE, 4096).unwrap();
        page(2).copy_from(&[9; 4096]);
        page(5).copy_from(&[9; 4096]);
        let memory = GuestMemory::new(PageSize::X86, vec![block.clone()]).unwrap();
        let target = GuestTarget::new(None);
        assert!(target.attach(memory, false));
        let guest = target.guest().unwrap();
        let (index, _) = guest.memory.find(b"ram").unwrap();

        take(&target, &[6 * PAGE], &[0, PAGE, 2 * PAGE, 3 * PAGE], 7).unwrap();
        guest.clear(index, 4 * PAGE, &page(4)).unwrap();
        guest.clear(index, 5 * PAGE, &page(5)).unwrap();
        assert_eq!(held(), 3);
        // It has come since.
        take(&target, &[0], &[6 * PAGE], 7).unwrap();
        take(&target, &[], &[0], 7).unwrap();
        assert_eq!(held(), 4);
        assert!((0..8).all(|at| page(at).is_zero()));
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
