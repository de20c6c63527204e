// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay is told.

use std::time::Duration;

use migration_params::{Parameters, ZeroPageDetection};
use multifd_core::{ChannelCount, ForwarderConfig};

use crate::options::channel_count;

/// How a [`Relay`](super::Relay) works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayConfig {
    /// The channels of both sides, and how long things are waited for. No size of pages by default: then it is what
    /// the source's configuration [names](crate::stream::Configuration::page_size).
    pub forwarder: ForwarderConfig,
    /// `multifd-channels` of the destination.
    pub outgoing_channels: ChannelCount,
    /// How long to wait for the first connection of a source; `None`, the default, waits for ever. A connection
    /// that has not [shown](multifd_core::Receiver::accept) that it is of a migration does not count.
    pub wait: Option<Duration>,
}

impl Default for RelayConfig {
    fn default() -> Self {
        let mut forwarder = ForwarderConfig::default();
        forwarder.page_size = None;
        Self {
            forwarder,
            outgoing_channels: ChannelCount::default(),
            wait: None,
        }
    }
}

impl RelayConfig {
    /// The defaults, with what the parameters say: those of the source's side and those of the
    /// destination's. Of both, `multifd-channels` and `max-bandwidth` count; of the destination's, also
    /// `zero-page-detection`, which is `multifd` or anything else.
    pub fn with_parameters(source: &Parameters, destination: &Parameters) -> Self {
        let Self { mut forwarder, .. } = Self::default();
        forwarder.channels = channel_count(source);
        forwarder.recv_bandwidth = source.max_bandwidth.non_zero();
        forwarder.send_bandwidth = destination.max_bandwidth.non_zero();
        forwarder.zero_pages = destination.zero_page_detection == ZeroPageDetection::Multifd;
        Self {
            forwarder,
            outgoing_channels: channel_count(destination),
            ..Self::default()
        }
    }
}
