// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Packets that arrive are passed on by a relay.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::exchange::Exchange;
use crate::channel::{
    Arrived, DeviceStateSink, PageSink, PageTarget, RoundPages, caller, not_announced,
};
use crate::error::Error;
use crate::geometry::PageSize;
use crate::memory::BlockTable;
use crate::pages::PageRuns;
use crate::wire::BlockName;

/// The guest as a relay sees it: the blocks that the source has announced, once it has.
#[derive(Default)]
pub(super) struct RelayTarget {
    onward: OnceLock<Onward>,
}

/// Where packets go that are passed on.
pub(super) struct Onward {
    /// The blocks that the source has announced.
    pub(super) blocks: BlockTable,
    /// How many pages come between two barriers.
    pub(super) round: RoundPages,
    /// Where they wait.
    pub(super) exchange: Arc<Exchange>,
    /// Takes device state.
    pub(super) device_state: DeviceStateSink,
}

impl RelayTarget {
    /// Says where packets go; returns whether that was not known yet.
    pub(super) fn attach(&self, onward: Onward) -> bool {
        self.onward.set(onward).is_ok()
    }

    /// How many pages come between two barriers, once it is known where they go.
    pub(super) fn round(&self) -> Option<&RoundPages> {
        self.onward.get().map(|onward| &onward.round)
    }
}

impl PageTarget for RelayTarget {
    type Sink<'t> = RelaySink<'t>;

    fn barrier(&self) {
        if let Some(onward) = self.onward.get() {
            onward.round.restart();
        }
    }

    fn sink(&self, page_size: PageSize) -> RelaySink<'_> {
        RelaySink {
            target: self,
            page_size,
            places: Vec::with_capacity(page_size.pages_per_packet()),
            runs: PageRuns::new(page_size),
            round: 0,
            waited: Duration::ZERO,
        }
    }
}

/// Puts the packets of one channel into parcels.
pub(super) struct RelaySink<'t> {
    target: &'t RelayTarget,
    page_size: PageSize,
    /// Where the content of the packet's pages goes, in the windows.
    places: Vec<u64>,
    runs: PageRuns<'t>,
    /// How many barriers the channel has come to.
    round: u64,
    /// How long the last packet has waited for a parcel, and behind it.
    waited: Duration,
}

/// A block of the guest.
#[derive(Clone, Copy)]
pub(super) struct RelayBlock<'t> {
    onward: &'t Onward,
    name: &'t BlockName,
    len: u64,
}

impl<'t> PageSink for RelaySink<'t> {
    type Block = RelayBlock<'t>;

    fn find(&self, name: &[u8]) -> Result<Option<RelayBlock<'t>>, Error> {
        let onward = self.target.onward.get().ok_or_else(not_announced)?;
        let found = onward.blocks.find(name);
        Ok(found.map(|(name, len)| RelayBlock { onward, name, len }))
    }

    fn name<'b>(block: &'b RelayBlock<'t>) -> &'b BlockName {
        block.name
    }

    fn len(block: &RelayBlock<'t>) -> u64 {
        block.len
    }

    fn count(block: &RelayBlock<'t>, pages: usize) -> Result<(), Error> {
        block.onward.round.add(pages)
    }

    /// Decodes the pages into an empty parcel and hands it over. Waits for a parcel while there is
    /// none: that is what holds back a source that is faster than the destination.
    fn take(&mut self, block: RelayBlock<'t>, packet: Arrived<'_>) -> Result<(), Error> {
        let exchange = &*block.onward.exchange;
        let asked = Instant::now();
        let mut parcel = exchange.empty().ok_or_else(Error::aborted)?;
        self.waited = asked.elapsed();
        parcel.clear();
        let count = packet.pages.normal.len();
        if count > 0 {
            let windows = exchange.windows.blocks().first();
            let windows = windows.ok_or_else(|| caller("no windows"))?;
            self.places.clear();
            self.places
                .extend(parcel.places(self.page_size).take(count));
            if self.places.len() != count {
                return Err(caller("more pages than a parcel has places"));
            }
            self.runs
                .set(windows, &self.places)
                .map_err(|error| caller(format!("the windows: {error}")))?;
            (packet.payload)(&mut self.runs)?;
        }
        parcel.block = Some(block.name.clone());
        parcel.normal.extend_from_slice(packet.pages.normal);
        parcel.zero.extend_from_slice(packet.pages.zero);
        parcel.round = self.round;
        parcel.wire_bytes = packet.wire_bytes;
        let received = Instant::now();
        parcel.received = received;
        exchange.pass_on(parcel);
        self.waited += received.elapsed();
        Ok(())
    }

    fn waited(&self) -> Duration {
        self.waited
    }

    fn sync(&mut self) {
        self.round += 1;
    }

    fn device_state(&self) -> Option<&DeviceStateSink> {
        self.target.onward.get().map(|onward| &onward.device_state)
    }

    fn admit_device_state(&self, bytes: usize) -> Result<(), Error> {
        let onward = self.target.onward.get().ok_or_else(not_announced)?;
        onward.exchange.admit_device_state(bytes)
    }
}
