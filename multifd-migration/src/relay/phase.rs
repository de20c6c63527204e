// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Where a migration stands that is passed on, and what it waits for.

use std::fmt;

/// The state of a migration, as a relay sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The connections of both sides are made, up to the source's list of memory.
    #[default]
    Setup,
    /// Memory is passed on while the guest runs at the source.
    Memory,
    /// The source has announced its switchover, or sends the last of its memory: the guest stands still.
    Switchover,
    /// All memory has been passed on. What follows is the devices and the destination's word.
    HandingOver,
    /// Both sides are done with each other.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled here.
    Cancelled,
}

impl Phase {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Memory => "memory",
            Self::Switchover => "switchover",
            Self::HandingOver => "handing-over",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the migration has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Phase {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What keeps a migration, or one of its channels, from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitsFor {
    /// More from the source.
    Source,
    /// The destination, which takes what it is given no faster.
    Destination,
    /// The channels of the source, which have not all come to a barrier.
    Barrier,
    /// The bandwidth that it is limited to here.
    Bandwidth,
    /// The destination's word, or the rest of the source's devices: where they end a relay does not know.
    ReturnPath,
}

impl WaitsFor {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Barrier => "barrier",
            Self::Bandwidth => "bandwidth",
            Self::ReturnPath => "return-path",
        }
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for WaitsFor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
