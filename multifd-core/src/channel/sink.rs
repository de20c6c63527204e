// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where the pages go that a channel receives.

use std::time::Duration;

use super::device_state::DeviceStateSink;
use crate::error::{Error, Fault};
use crate::geometry::PageSize;
use crate::pages::PageRuns;
use crate::wire::{BlockName, PageOffsets};

/// Where the pages of all channels go.
pub(crate) trait PageTarget: Send + Sync + 'static {
    /// Its end at one channel.
    type Sink<'t>: PageSink
    where
        Self: 't;

    /// All channels are at a barrier, and none has been let go on yet.
    fn barrier(&self);

    /// Makes the end of one channel. Nothing that it does later allocates.
    fn sink(&self, page_size: PageSize) -> Self::Sink<'_>;
}

/// Takes the pages of one channel.
pub(crate) trait PageSink {
    /// A block that was found by its name.
    type Block: Copy;

    /// Finds a block by the name in a packet; `None` if there is none.
    ///
    /// # Errors
    /// The main channel has not announced the blocks yet.
    fn find(&self, name: &[u8]) -> Result<Option<Self::Block>, Error>;

    /// The block's name.
    fn name(block: &Self::Block) -> &BlockName;

    /// The block's length in bytes.
    fn len(block: &Self::Block) -> u64;

    /// Counts pages of the block, which have been announced by a packet.
    ///
    /// # Errors
    /// More have come since the last barrier than may, or it was the last of all.
    fn count(block: &Self::Block, pages: usize) -> Result<(), Error>;

    /// Takes the pages of a packet, which are whole pages of the block, each once.
    fn take(&mut self, block: Self::Block, packet: Arrived<'_>) -> Result<(), Error>;

    /// How long the last [`take`](Self::take) has waited for room.
    fn waited(&self) -> Duration {
        Duration::ZERO
    }

    /// The channel has come to a barrier.
    fn sync(&mut self) {}

    /// What takes device state; `None` refuses it.
    fn device_state(&self) -> Option<&DeviceStateSink>;

    /// Waits until so many bytes of device state may be received.
    ///
    /// # Errors
    /// The migration is over.
    fn admit_device_state(&self, _bytes: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// A packet whose header has been read and checked.
pub(crate) struct Arrived<'p> {
    pub(crate) pages: PageOffsets<'p>,
    /// Bytes of header and payload.
    pub(crate) wire_bytes: usize,
    /// Reads the payload into as many pages as there are normal ones: to be called once if there
    /// are any.
    pub(crate) payload: &'p mut dyn FnMut(&mut PageRuns<'_>) -> Result<(), Error>,
}

/// The error of pages that come too early.
pub(crate) fn not_announced() -> Error {
    let what = "pages before the first SYNC: guest memory is not announced yet";
    Error::new(Fault::Peer, what)
}
