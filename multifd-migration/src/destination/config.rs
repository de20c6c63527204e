// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a destination is told.

use std::time::Duration;

use migration_params::Settings;
use multifd_core::ReceiverConfig;

use crate::options::channel_count;
use crate::unsupported::{self, Unsupported};

/// How a [`Destination`](super::Destination) works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DestinationConfig {
    /// The channels, and how long things are waited for. No size of pages by default: then it is what the source's
    /// configuration [names](crate::stream::Configuration::page_size).
    pub receiver: ReceiverConfig,
    /// The machine type that the source must have; `None` takes any.
    pub machine: Option<String>,
    /// The source has the capability `switchover-ack`, so a live guest's switchover waits for the word that this side is
    /// ready. Nothing that comes from the source says so, and a QEMU before 8.1 takes the word for an error.
    pub switchover_ack: bool,
    /// How long to wait for the first connection of a source; `None`, the default, waits for ever. A connection
    /// that has not [shown](multifd_core::Receiver::accept) that it is of a migration does not count.
    pub wait: Option<Duration>,
}

impl Default for DestinationConfig {
    fn default() -> Self {
        let mut receiver = ReceiverConfig::default();
        receiver.page_size = None;
        Self {
            receiver,
            machine: None,
            switchover_ack: false,
            wait: None,
        }
    }
}

/// The defaults, with what parameters and capabilities say: `multifd-channels` and `switchover-ack`.
impl TryFrom<&Settings> for DestinationConfig {
    type Error = Unsupported;

    fn try_from(settings: &Settings) -> Result<Self, Unsupported> {
        unsupported::at_destination(settings)?;
        let mut config = Self::default();
        config.receiver.channels = channel_count(&settings.parameters);
        config.switchover_ack = settings.capabilities.switchover_ack;
        Ok(config)
    }
}
