// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a relay has passed on.

use std::time::Duration;

use multifd_core::engine::ForwardStats;

/// What a migration took that was passed on to its end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RelayReport {
    /// The machine type that the source has sent.
    pub machine: String,
    /// From the source's first byte to the destination's confirmation, or to the end of the stream
    /// without one.
    pub total_time: Duration,
    /// The part of it before the list of RAM blocks.
    pub setup_time: Duration,
    /// From the end of RAM on: the devices, and the confirmation.
    pub device_time: Duration,
    /// Whether the destination has confirmed that it has the guest, and the source was told so. A
    /// source without a return path waits for no confirmation.
    pub confirmed: bool,
    /// Bytes of all RAM blocks.
    pub ram_bytes: u64,
    /// Bytes on the main channel.
    pub main_bytes: u64,
    /// Zero pages that went over the main channel.
    pub main_zero_pages: u64,
    /// Size of the guest's pages in bytes.
    pub page_size: u64,
    /// The channels of both sides, and how long packets and barriers stayed here.
    pub channels: ForwardStats,
}

impl RelayReport {
    /// Bytes that came from the source, on all connections.
    pub fn received(&self) -> u64 {
        self.main_bytes + self.channels.incoming.total().wire_bytes
    }

    /// Bytes that went to the destination, on all connections.
    pub fn sent(&self) -> u64 {
        self.main_bytes + self.channels.outgoing.total().wire_bytes
    }

    /// Bytes of guest memory that were passed on, on whatever channel.
    pub fn guest_bytes(&self) -> u64 {
        self.channels.outgoing.total().guest_bytes + self.main_zero_pages * self.page_size
    }
}
