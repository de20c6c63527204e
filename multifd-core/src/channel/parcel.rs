//! Packets on their way through a relay.

use std::sync::Arc;
use std::time::Instant;

use super::{DeviceState, DeviceStateSink};
use crate::geometry::{PACKET_BYTES, PageSize};
use crate::memory::{BlockTable, GuestMemory, Mapping, MemoryError, RamBlock};
use crate::wire::BlockName;

/// One packet between two channels of a relay, and the place for its content. It goes round between
/// the channels that receive and those that send; whoever has it has the place for itself.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Where its place starts in the relay's [`windows`].
    pub(super) window: u64,
    /// The block, if there are pages.
    pub(super) block: Option<BlockName>,
    /// Byte offsets in the block, of the normal pages and then of the zero pages. The content of the
    /// first normal page is the first in the window, and so on.
    pub(super) offsets: Vec<u64>,
    pub(super) normal: usize,
    /// Device state, instead of pages.
    pub(super) device_state: Option<DeviceState>,
    /// How many SYNC packets its channel had received before it.
    pub(crate) round: u64,
    /// Bytes of its packet on the wire.
    pub(crate) wire_bytes: usize,
    /// When all of it had been received.
    pub(crate) received: Instant,
}

/// Where packets go that are passed on.
pub(crate) struct Transit {
    /// The blocks that the source has announced.
    pub(crate) blocks: BlockTable,
    /// The places of all parcels.
    pub(crate) windows: GuestMemory,
    /// Keeps the parcels.
    pub(crate) depot: Arc<dyn Depot>,
    /// Takes device state.
    pub(crate) sink: DeviceStateSink,
}

/// Gives and takes parcels.
pub(crate) trait Depot: Send + Sync {
    /// An empty parcel; waits for one. `None` once the migration is over.
    fn empty(&self) -> Option<Parcel>;

    /// Takes a parcel that is to be sent.
    fn pass_on(&self, parcel: Parcel);
}

/// Memory for the content of so many parcels.
///
/// # Errors
/// The system has none left.
pub(crate) fn windows(page_size: PageSize, count: usize) -> Result<GuestMemory, WindowsError> {
    let region = Mapping::anonymous(count * PACKET_BYTES)?;
    let name = BlockName::new("windows").ok_or(WindowsError::Name)?;
    let block = RamBlock::new(name, Arc::new(region))?;
    Ok(GuestMemory::new(page_size, vec![block])?)
}

/// Why there are no windows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WindowsError {
    #[error("no memory for packets in transit: {0}")]
    Map(#[from] std::io::Error),
    #[error(transparent)]
    Block(#[from] MemoryError),
    #[error("the windows have no name")]
    Name,
}

impl Parcel {
    /// An empty parcel with the place number `at` of all.
    pub(crate) fn new(page_size: PageSize, at: usize) -> Self {
        Self {
            window: (at * PACKET_BYTES) as u64,
            block: None,
            offsets: Vec::with_capacity(page_size.pages_per_packet()),
            normal: 0,
            device_state: None,
            round: 0,
            wire_bytes: 0,
            received: Instant::now(),
        }
    }

    /// Makes it one of device state, which belongs to no round.
    pub(crate) fn set_device_state(&mut self, state: DeviceState) {
        self.clear();
        self.wire_bytes = state.data.len();
        self.device_state = Some(state);
        self.received = Instant::now();
    }

    /// Forgets what it carries.
    pub(crate) fn clear(&mut self) {
        self.block = None;
        self.offsets.clear();
        self.normal = 0;
        self.device_state = None;
        self.round = 0;
    }

    /// The pages of its window that are filled: offsets in the windows' block.
    pub(super) fn local(&self, page_size: PageSize, pages: usize) -> impl Iterator<Item = u64> {
        let (window, page) = (self.window, page_size.bytes_u64());
        (0..pages as u64).map(move |at| window + at * page)
    }
}
