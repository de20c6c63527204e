//! What a destination is told.

use std::time::Duration;

use multifd_core::ReceiverConfig;

/// How a [`Destination`](super::Destination) works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// The channels.
    pub receiver: ReceiverConfig,
    /// The machine type that the source must have; `None` takes any.
    pub machine: Option<String>,
    /// How long to wait for the first connection of a source; `None`, the default, waits for ever. A connection
    /// that has not [shown](multifd_core::Receiver::accept) that it is of a migration does not count.
    pub wait: Option<Duration>,
    /// How long the main connection may be missing once another one of the source's is known; 30 s by default.
    pub main_time_limit: Duration,
    /// How long the source may be silent while it sends the state of the devices; 30 s by default.
    /// A QEMU that is told to send no description of it never says where it ends.
    pub device_time_limit: Duration,
}

impl Default for DestinationConfig {
    fn default() -> Self {
        Self {
            receiver: ReceiverConfig::default(),
            machine: None,
            wait: None,
            main_time_limit: Duration::from_secs(30),
            device_time_limit: Duration::from_secs(30),
        }
    }
}
