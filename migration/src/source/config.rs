//! What a source is told.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use migration_params::{Parameters, ZeroPageDetection};
use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;
use multifd_core::{Spawn, StdThreads};

use crate::stream::{DeviceSection, SyncMode};

/// How a [`Source`](super::Source) works.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceConfig {
    /// The machine type that the destination must have, as QEMU names it: `pc-i440fx-10.0`, or
    /// `none`, the default, for a hypervisor that is not QEMU.
    pub machine: String,
    /// The VM's UUID, all zero if it has none. The destination refuses another one than its own.
    pub uuid: Uuid,
    /// How barriers stand on the main channel: what the destination is set to. Per round, unless it
    /// is QEMU's machine type 8.0 or older.
    pub sync_mode: SyncMode,
    /// `zero-page-detection`. `multifd` wants a destination of QEMU 9.0 or later.
    pub zero_pages: ZeroPageDetection,
    /// `max-bandwidth`, bytes per second over all channels together; `None` is unlimited.
    pub max_bandwidth: Option<NonZeroU64>,
    /// The state of each device, in the order in which the destination loads it.
    pub devices: Vec<DeviceSection>,
    /// How long the destination may take to confirm once it has everything; 60 s by default.
    pub confirm_time_limit: Duration,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            machine: "none".into(),
            uuid: Uuid::default(),
            sync_mode: SyncMode::PerRound,
            zero_pages: ZeroPageDetection::Multifd,
            max_bandwidth: None,
            devices: Vec::new(),
            confirm_time_limit: Duration::from_secs(60),
            threads: Arc::new(StdThreads),
        }
    }
}

impl SourceConfig {
    /// The defaults, with what the parameters say.
    pub fn with_parameters(parameters: &Parameters) -> Self {
        Self {
            zero_pages: parameters.zero_page_detection,
            max_bandwidth: parameters.max_bandwidth.non_zero(),
            ..Self::default()
        }
    }
}

/// The connections of a source, all to the same destination.
pub struct Connections {
    /// The main connection, to send.
    pub main: Box<dyn Transport>,
    /// A second handle of the main connection, to receive: with it the destination confirms, and
    /// the guest never runs on both sides. Without it the end of sending is the end.
    pub return_path: Option<Box<dyn Transport>>,
    /// The multifd connections, `multifd-channels` of them.
    pub channels: Vec<Box<dyn Transport>>,
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceConfig")
            .field("machine", &self.machine)
            .field("uuid", &self.uuid)
            .field("sync_mode", &self.sync_mode)
            .field("zero_pages", &self.zero_pages)
            .field("max_bandwidth", &self.max_bandwidth)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections(main and {} channels)", self.channels.len())
    }
}
