// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a receiver works.

use std::sync::Arc;

use crate::channel::DeviceStateSink;
use crate::engine::limits::Limits;
use crate::geometry::{ChannelCount, PageSize};
use crate::method::{Spawn, StdThreads};
use crate::wire::Uuid;

/// How a [`Receiver`](super::Receiver) works.
#[derive(Clone)]
#[non_exhaustive]
pub struct ReceiverConfig {
    /// The VM's UUID, all zero if it has none: a channel of another VM fails the migration. `None`, the default,
    /// takes what the first channel says; one that says something else is closed as a
    /// [stranger](super::Receiver::strangers).
    pub uuid: Option<Uuid>,
    /// `multifd-channels`: how many channels the source opens.
    pub channels: ChannelCount,
    /// Size of the guest's pages, which is the same on both sides: 4 KiB by default. Without one the channels are read
    /// once it is [said](super::Receiver::set_page_size), or memory with pages of some size is attached.
    pub page_size: Option<PageSize>,
    /// The guest memory is all zero at the start, so that zero pages that arrive first need not be
    /// written: true for fresh anonymous memory, and for a fresh file. If it is said and not so,
    /// the guest finds stale bytes where it should find zeros. Off by default: then the memory is
    /// [asked](crate::memory::RamRegion::for_each_touched) what of it is zero, once.
    pub memory_is_zeroed: bool,
    /// How long things are waited for.
    pub limits: Limits,
    /// Takes device state that comes over the channels; without one it is refused.
    pub device_state: Option<DeviceStateSink>,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for ReceiverConfig {
    fn default() -> Self {
        Self {
            uuid: None,
            channels: ChannelCount::default(),
            page_size: Some(PageSize::default()),
            memory_is_zeroed: false,
            limits: Limits::default(),
            device_state: None,
            threads: Arc::new(StdThreads),
        }
    }
}

impl std::fmt::Debug for ReceiverConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ReceiverConfig(uuid {:?}, {} channels)",
            self.uuid, self.channels
        )
    }
}
