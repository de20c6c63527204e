//! Where a receiving channel puts what arrives.

use std::fmt;
use std::sync::Arc;

use super::Transit;
use crate::memory::{BlockIndex, GuestMemory, RamBlock, ReceivedBitmap};
use crate::wire::BlockName;

/// Where the pages go.
pub(crate) enum Landing {
    /// Into guest memory.
    Guest(Target),
    /// Through a relay.
    Relay(Transit),
}

/// A block that was found by its name, and where its pages go.
#[derive(Clone, Copy)]
pub(crate) enum Found<'m> {
    /// Into this block.
    Guest(&'m Target, BlockIndex, &'m RamBlock),
    /// Through a relay; the block has this name and length.
    Relay(&'m Transit, &'m BlockName, u64),
}

/// The guest memory of a destination, and which of its pages have arrived.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) memory: GuestMemory,
    pub(crate) received: ReceivedBitmap,
    /// The memory was all zero at the start: a zero page that arrives first need not be written.
    pub(crate) zeroed: bool,
}

/// A piece of device state that came over a multifd channel. QEMU sends VFIO state so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceState {
    /// The device's id string.
    pub idstr: String,
    /// The device's instance.
    pub instance_id: u32,
    /// Opaque bytes.
    pub data: Vec<u8>,
}

impl DeviceState {
    /// Device state to be sent: 1 byte to 64 MiB of it.
    pub fn new(idstr: impl Into<String>, instance_id: u32, data: Vec<u8>) -> Self {
        Self {
            idstr: idstr.into(),
            instance_id,
            data,
        }
    }
}

/// Takes device state as it arrives. Called on the channels' threads, with several at once.
pub type DeviceStateSink = Arc<dyn Fn(DeviceState) -> Result<(), SinkError> + Send + Sync>;

type SinkError = Box<dyn std::error::Error + Send + Sync>;

impl Landing {
    /// Finds a block by the name in a packet.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Found<'_>> {
        match self {
            Self::Guest(target) => {
                let (index, block) = target.memory.find(name)?;
                Some(Found::Guest(target, index, block))
            }
            Self::Relay(transit) => {
                let (name, len) = transit.blocks.find(name)?;
                Some(Found::Relay(transit, name, len))
            }
        }
    }

    /// The guest memory, unless this is a relay.
    pub(crate) fn guest(&self) -> Option<&Target> {
        match self {
            Self::Guest(target) => Some(target),
            Self::Relay(_) => None,
        }
    }
}

impl Found<'_> {
    /// The block's name.
    pub(crate) fn name(&self) -> &BlockName {
        match self {
            Self::Guest(_, _, block) => block.name(),
            Self::Relay(_, name, _) => name,
        }
    }

    /// The block's length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Guest(_, _, block) => block.len(),
            Self::Relay(_, _, len) => *len,
        }
    }
}

impl Target {
    pub(crate) fn new(memory: GuestMemory, zeroed: bool) -> Self {
        let received = ReceivedBitmap::new(&memory);
        Self {
            memory,
            received,
            zeroed,
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes of {:?}, instance {}",
            self.data.len(),
            self.idstr,
            self.instance_id
        )
    }
}
