// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Packets on their way through a relay.

use std::sync::Arc;
use std::time::Instant;

use crate::channel::DeviceState;
use crate::geometry::{PACKET_BYTES, PageSize};
use crate::memory::{GuestMemory, Mapping, MemoryError, RamBlock};
use crate::wire::BlockName;

/// One packet between two channels of a relay, and the place for its content. It goes round between
/// the channels that receive and those that send; whoever has it has the place for itself.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Where its place starts in the relay's [`windows`].
    pub(super) window: u64,
    /// The block, if there are pages.
    pub(super) block: Option<BlockName>,
    /// Byte offsets in the block of the pages with content. That of the first is the first in the
    /// window, and so on.
    pub(super) normal: Vec<u64>,
    /// Byte offsets in the block of the zero pages.
    pub(super) zero: Vec<u64>,
    /// Device state, instead of pages.
    pub(super) device_state: Option<DeviceState>,
    /// How many SYNC packets its channel had received before it.
    pub(super) round: u64,
    /// Bytes of its packet on the wire.
    pub(super) wire_bytes: usize,
    /// When all of it had been received.
    pub(super) received: Instant,
}

/// Memory for the content of so many parcels.
///
/// # Errors
/// The system has none left.
pub(super) fn windows(page_size: PageSize, count: usize) -> Result<GuestMemory, WindowsError> {
    let region = Mapping::anonymous(count * PACKET_BYTES)?;
    let name = BlockName::new("windows").ok_or(WindowsError::Name)?;
    let block = RamBlock::new(name, Arc::new(region))?;
    Ok(GuestMemory::new(page_size, vec![block])?)
}

/// Why there are no windows.
#[derive(Debug, thiserror::Error)]
pub(super) enum WindowsError {
    #[error("no memory for parcels: {0}")]
    Map(#[from] std::io::Error),
    #[error(transparent)]
    Block(#[from] MemoryError),
    #[error("the windows have no name")]
    Name,
}

impl Parcel {
    /// An empty parcel with the place number `at` of all.
    pub(super) fn new(page_size: PageSize, at: usize) -> Self {
        Self {
            window: (at * PACKET_BYTES) as u64,
            block: None,
            normal: Vec::with_capacity(page_size.pages_per_packet()),
            zero: Vec::with_capacity(page_size.pages_per_packet()),
            device_state: None,
            round: 0,
            wire_bytes: 0,
            received: Instant::now(),
        }
    }

    /// Makes it one of device state, which belongs to no round.
    pub(super) fn set_device_state(&mut self, state: DeviceState) {
        self.clear();
        self.wire_bytes = state.data.len();
        self.device_state = Some(state);
        self.received = Instant::now();
    }

    /// Forgets what it carries.
    pub(super) fn clear(&mut self) {
        self.block = None;
        self.normal.clear();
        self.zero.clear();
        self.device_state = None;
        self.round = 0;
    }

    /// The places in its window, one after the other: offsets in the windows' block.
    pub(super) fn places(&self, page_size: PageSize) -> impl Iterator<Item = u64> + use<> {
        let (window, page) = (self.window, page_size.bytes_u64());
        (0..PACKET_BYTES as u64 / page).map(move |at| window + at * page)
    }
}
