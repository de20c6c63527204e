// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Format
//!
//! The payloads of one channel, put together, are a sequence of frames whose content is the normal
//! pages of its packets in order. What each packet needs for its pages is in its payload, or in one
//! before it.
//!
//! * This sender makes one complete frame per packet. Packets do not depend on each other.
//! * QEMU's sender makes one frame per channel, which it flushes at the end of each packet and never
//!   ends. A page may refer to what the channel sent long before.
//!
//! The receiver takes both, and whatever else QEMU's receiver takes: several frames in one packet,
//! skippable frames, empty blocks.
//!
//! A sender that chooses for each packet has a ladder from frames of raw blocks, for which pages are not copied, over
//! the library's negative levels to its high ones. The receiver puts raw blocks where they belong without a copy, too.
//!
//! ## Memory
//!
//! A channel has buffers for a packet and for its payload, and the library's state: one for each rung of the ladder that
//! may be chosen. A receiver's
//! state holds a window whose size the peer chooses: 512 KiB at QEMU's level 1, and up to 32 MiB
//! ([`MAX_WINDOW_LOG`]) at its level 20.

mod format;
mod in_place;
mod ladder;
mod raw;
mod recv;
mod send;

use std::sync::Arc;

use multifd_core::method::Rung;
use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};

pub use recv::MAX_WINDOW_LOG;

use format::NAME;

/// Opens the method `zstd`. Its option is `multifd-zstd-level`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZstdFactory;

impl MethodFactory for ZstdFactory {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::ZSTD
    }

    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        let level = options
            .level("multifd-zstd-level", 0..=20, 1)
            .map_err(|what| MethodError::config(NAME, what))?;
        Ok(Arc::new(ZstdMethod { level }))
    }
}

/// The opened method.
#[derive(Debug)]
struct ZstdMethod {
    /// 0 to 20.
    level: u8,
}

impl MultifdMethods for ZstdMethod {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::ZSTD
    }

    fn ladder(&self) -> &'static [Rung] {
        ladder::LADDER
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::ZstdSend::new(setup, self.level)?))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::ZstdRecv::new(setup)?))
    }
}
