//! Where a migration stands, in QEMU's terms.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// The state of a migration. Names and order are those of QEMU's `MigrationStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Not started.
    #[default]
    None,
    /// Connections, method and head of the stream.
    Setup,
    /// Memory is sent while the guest runs.
    Active,
    /// The guest is paused, and waits for [`SourceHandle::proceed`](super::SourceHandle::proceed).
    PreSwitchover,
    /// The guest is paused: the last memory and the devices are sent.
    Device,
    /// The guest is at the destination.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled, and is about to end.
    Cancelling,
    /// It was cancelled; the guest runs here.
    Cancelled,
}

impl Status {
    /// QEMU's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Setup => "setup",
            Self::Active => "active",
            Self::PreSwitchover => "pre-switchover",
            Self::Device => "device",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the migration has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What [`SourceHost::event`](super::SourceHost::event) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// QEMU's event `MIGRATION`.
    Status(Status),
    /// QEMU's event `MIGRATION_PASS`: the dirty log was fetched, for the given time.
    Pass(u64),
}

/// Where the time between pause and the guest's start at the destination went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownTime {
    /// The host stopped the guest.
    pub pause: Duration,
    /// It waited for the word to go on: `pause-before-switchover`.
    pub wait: Duration,
    /// The last fetch of the dirty log.
    pub fetch: Duration,
    /// The last dirty pages, until the connections had taken them.
    pub memory: Duration,
    /// The host saved the devices, and they were sent.
    pub devices: Duration,
    /// The destination took the rest off the wire, loaded the devices and confirmed.
    pub destination: Duration,
}

impl DownTime {
    /// All of it.
    pub fn total(&self) -> Duration {
        self.pause + self.wait + self.fetch + self.memory + self.devices + self.destination
    }
}
