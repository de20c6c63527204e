// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Format
//!
//! The payloads of one channel, put together, are one zlib stream (RFC 1950) whose content is the
//! normal pages of its packets in order:
//!
//! * The two bytes of the zlib header are in the first packet that has normal pages, and only there.
//! * Each packet ends in a flush, so at a byte, and everything that its pages need is in it or in one
//!   before it.
//! * The stream is never ended. There is no final block and no checksum.
//!
//! QEMU's sender refers back by up to 32 KiB, also to the pages of earlier packets. This sender does
//! not: it starts each packet, and each run of compressible pages in it, from nothing. Packets are
//! found to stand alone by the receiver, which then takes a faster way than a stream's.
//!
//! At level 1 ISA-L compresses if the system has it, else libdeflate; both make about as much as zlib
//! does at that level. `isal-library` is the option of [`Isal`].
//!
//! At level 0 pages are stored. Pages that look incompressible are stored at every level. A sender
//! that chooses for each packet has a ladder of levels, below them stored blocks around pages that
//! are not copied.

mod format;
mod inflate;
mod ladder;
mod recv;
mod send;

use std::sync::Arc;

use multifd_core::method::{Implementation, Rung};
use multifd_core::{
    ChannelSetup, MethodError, MethodFactory, MethodIdentity, MethodOptions, MultifdMethods,
    RecvMethod, SendMethod,
};
use multifd_deflate::{Deflate, Isal, Level};

use format::NAME;

/// Opens the method `zlib`. Its options are `multifd-zlib-level` and [`Isal::OPTION`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ZlibFactory;

impl MethodFactory for ZlibFactory {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::ZLIB
    }

    fn open(&self, options: &MethodOptions) -> Result<Arc<dyn MultifdMethods>, MethodError> {
        let level = options
            .level("multifd-zlib-level", 0..=9, 1)
            .map_err(|what| MethodError::config(NAME, what))?;
        let deflate = Deflate::open(&Isal::from_option(options.text(Isal::OPTION)))
            .map_err(|error| MethodError::config(NAME, error.to_string()))?;
        Ok(Arc::new(ZlibMethod { level, deflate }))
    }
}

/// The opened method.
#[derive(Debug)]
struct ZlibMethod {
    /// 0 to 9.
    level: u8,
    deflate: Deflate,
}

impl MultifdMethods for ZlibMethod {
    fn identity(&self) -> MethodIdentity {
        MethodIdentity::ZLIB
    }

    fn ladder(&self) -> &'static [Rung] {
        ladder::LADDER
    }

    fn implementation(&self) -> Implementation {
        let software = Implementation::software();
        match self.level == Level::FASTEST.number() {
            true => software.with_fallback(self.deflate.implementation()),
            false => software,
        }
    }

    fn send_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn SendMethod>, MethodError> {
        Ok(Box::new(send::ZlibSend::new(
            setup,
            self.level,
            &self.deflate,
        )))
    }

    fn recv_setup(&self, setup: &ChannelSetup) -> Result<Box<dyn RecvMethod>, MethodError> {
        Ok(Box::new(recv::ZlibRecv::new(setup)))
    }
}
