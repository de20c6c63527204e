// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a compression method is to the engine.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::error::MethodError;
use super::implementation::Implementation;
use super::path::PathCounts;
use super::rung::Rung;
use super::spawn::{Spawn, StdThreads};
use crate::geometry::{ChannelId, PageSize};
use crate::pages::{Pages, PagesMut, Payload, Segments};
use crate::wire::{MethodId, MethodIdentity};

/// One compression method with its configuration. Shared by all channels, immutable.
pub trait MultifdMethods: Send + Sync {
    /// Its number and its name.
    fn identity(&self) -> MethodIdentity;

    /// What does the work, and why: for the log of a starting migration, and for whoever compares methods.
    fn implementation(&self) -> Implementation {
        Implementation::software()
    }

    /// What a sending channel may choose from for each packet, the cheapest first; a method with one way to make a
    /// payload has one rung.
    ///
    /// Which of them a channel is asked for is said in [`ChannelSetup::rungs`].
    fn ladder(&self) -> &'static [Rung] {
        &[Rung::ONLY]
    }

    /// Makes the state of a sending channel.
    ///
    /// Called once per channel, on the channel's thread, before its first packet. Buffers for a
    /// whole packet are allocated here.
    ///
    /// # Errors
    /// Whatever keeps this channel from working; the migration then fails before it sends a page.
    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError>;

    /// Makes the state of a receiving channel. As [`Self::send_setup`].
    ///
    /// # Errors
    /// As [`Self::send_setup`].
    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError>;
}

impl dyn MultifdMethods + '_ {
    /// The number in each packet's flags.
    pub fn id(&self) -> MethodId {
        self.identity().id()
    }

    /// The name that `multifd-compression` has for it.
    pub fn name(&self) -> &'static str {
        self.identity().name()
    }
}

/// What a channel's state may depend on.
#[derive(Clone)]
#[non_exhaustive]
pub struct ChannelSetup {
    /// The channel.
    pub channel: ChannelId,
    /// Size of the guest's pages.
    pub page_size: PageSize,
    /// Starts a thread for a device whose library may never return.
    pub threads: Arc<dyn Spawn>,
    /// How long such a device may be silent before the channel gives it up.
    pub accelerator_limit: Duration,
    /// How many rungs of the method's ladder, from the lowest on, a sending channel may be asked for by
    /// [`SendMethod::select`]; `None` for the level that the method was opened with.
    pub rungs: Option<usize>,
}

impl ChannelSetup {
    /// The set-up of one channel, with the standard library's threads and an accelerator that may be silent
    /// for 10 s.
    pub fn new(channel: ChannelId, page_size: PageSize) -> Self {
        Self {
            channel,
            page_size,
            threads: Arc::new(StdThreads),
            accelerator_limit: ACCELERATOR_LIMIT,
            rungs: None,
        }
    }

    /// The same, of a sending channel that may be asked for so many rungs.
    #[must_use]
    pub fn with_rungs(mut self, rungs: Option<usize>) -> Self {
        self.rungs = rungs;
        self
    }

    /// The same, with a host's threads.
    #[must_use]
    pub fn with_threads(mut self, threads: Arc<dyn Spawn>) -> Self {
        self.threads = threads;
        self
    }

    /// The same, with an accelerator that may be silent for so long.
    #[must_use]
    pub fn with_accelerator_limit(mut self, limit: Duration) -> Self {
        self.accelerator_limit = limit;
        self
    }

    /// Bytes of guest pages that one packet carries at most.
    pub fn packet_bytes(&self) -> usize {
        self.page_size.pages_per_packet() * self.page_size.bytes()
    }
}

impl fmt::Debug for ChannelSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSetup")
            .field("channel", &self.channel)
            .field("page_size", &self.page_size)
            .field("accelerator_limit", &self.accelerator_limit)
            .field("rungs", &self.rungs)
            .finish_non_exhaustive()
    }
}

/// State of one sending channel.
pub trait SendMethod {
    /// Makes the payloads from now on in the way of this rung of the method's ladder, which is below
    /// [`ChannelSetup::rungs`].
    ///
    /// Called on the channel's thread, before any packet, as often as every one. What it needs has been allocated at the
    /// set-up. A method with one rung does nothing.
    fn select(&mut self, rung: usize) {
        let _ = rung;
    }

    /// Makes the payload of one packet from its normal pages, of which there is at least one.
    ///
    /// Called on the channel's thread, once per packet that has normal pages, in the order of the
    /// wire. The guest may write to the pages meanwhile: whatever is read twice must be copied
    /// first. `out` is empty; what is pushed stays borrowed until it is sent. The payload is
    /// exactly what the peer's [`RecvMethod`] takes, at most `u32::MAX` bytes.
    ///
    /// # Errors
    /// The device or the library failed; the migration fails, and the guest runs on.
    fn send_prepare<'a>(
        &'a mut self,
        pages: &Pages<'a>,
        out: &mut Segments<'a>,
    ) -> Result<(), MethodError>;

    /// Which implementation did the packets so far; `None` if there is only the method's own.
    ///
    /// Called on the channel's thread after each packet with payload: it reads counters, no more.
    fn paths(&self) -> Option<PathCounts> {
        None
    }
}

/// State of one receiving channel.
pub trait RecvMethod {
    /// The sizes in bytes that a payload of `pages` normal pages may have. Core refuses any other
    /// before a byte of it is read.
    fn payload_limits(&self, pages: usize) -> RangeInclusive<usize>;

    /// Reads the whole payload of one packet and fills its normal pages, of which there is at least
    /// one.
    ///
    /// Called on the channel's thread, once per packet that has normal pages, in the order of the
    /// wire. The payload comes from a peer that may be hostile. Each page is written completely, and
    /// nothing else is. Bytes of the payload that are left make core refuse the packet.
    ///
    /// # Errors
    /// The payload is not what [`SendMethod::send_prepare`] makes of as many pages, the connection
    /// failed, or the device did. The pages may then be filled in part.
    fn recv(&mut self, payload: &mut Payload<'_>, pages: &PagesMut<'_>) -> Result<(), MethodError>;

    /// As [`SendMethod::paths`].
    fn paths(&self) -> Option<PathCounts> {
        None
    }
}

/// How long an accelerator may be silent, unless the host says otherwise.
pub(crate) const ACCELERATOR_LIMIT: Duration = Duration::from_secs(10);
