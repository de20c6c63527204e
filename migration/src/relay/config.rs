//! What a relay is told.

use std::time::Duration;

use migration_params::{Parameters, ZeroPageDetection};
use multifd_core::{ChannelCount, ForwarderConfig};

use crate::options::channel_count;

/// How a [`Relay`](super::Relay) works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayConfig {
    /// The channels of both sides.
    pub forwarder: ForwarderConfig,
    /// `multifd-channels` of the destination.
    pub outgoing_channels: ChannelCount,
    /// How long to wait for the first connection of a source; `None`, the default, waits for ever. A connection
    /// that has not [shown](multifd_core::Receiver::accept) that it is of a migration does not count.
    pub wait: Option<Duration>,
    /// How long the source's main connection, or its first channel, may be missing once another connection of
    /// its is known; 30 s by default.
    pub main_time_limit: Duration,
    /// How long the destination may take nothing although there is something for it, or leave a PING
    /// unanswered; 60 s by default. A destination that is set to more channels than it gets is found
    /// so: it waits for the others.
    pub destination_time_limit: Duration,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            forwarder: ForwarderConfig::default(),
            outgoing_channels: ChannelCount::default(),
            wait: None,
            main_time_limit: Duration::from_secs(30),
            destination_time_limit: Duration::from_secs(60),
        }
    }
}

impl RelayConfig {
    /// The defaults, with what the parameters say: those of the source's side and those of the
    /// destination's. Of both, `multifd-channels` and `max-bandwidth` count; of the destination's, also
    /// `zero-page-detection`, which is `multifd` or anything else.
    pub fn with_parameters(source: &Parameters, destination: &Parameters) -> Self {
        let mut forwarder = ForwarderConfig::default();
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
