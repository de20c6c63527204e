// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a session is set up.

use crate::bindings::{DEFLATE_GZIP_EXT, DIR_BOTH, DYNAMIC_HDR, DeflateParams};

/// How a session is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// 1 to 9, for what is compressed.
    pub level: u8,
    /// Whether the library's own software does what a device does not.
    pub software_backup: bool,
}

impl Config {
    /// The level of those to whom it does not matter.
    pub const LEVEL: u8 = 1;

    /// A session that only a device does the work of. It compresses at `level`, and decompresses.
    ///
    /// All sessions of a process share the device's instances, and the library sets an instance up anew each
    /// time that the next session is set up otherwise than the last. So there is no session for one direction
    /// only, and whoever only decompresses takes [`Self::LEVEL`].
    pub fn new(level: u8) -> Self {
        Self {
            level,
            software_backup: false,
        }
    }

    /// The same, but the library's software does what a device does not.
    #[must_use]
    pub fn with_software_backup(mut self) -> Self {
        self.software_backup = true;
        self
    }

    /// The library's defaults, with what matters for the format and for who does the work.
    pub(crate) fn params(self, defaults: DeflateParams) -> DeflateParams {
        DeflateParams {
            direction: DIR_BOTH,
            comp_lvl: self.level.into(),
            sw_backup: self.software_backup.into(),
            hw_buff_sz: MEMBER_CONTENT,
            is_sensitive_mode: 0,
            huffman_hdr: DYNAMIC_HDR,
            data_fmt: DEFLATE_GZIP_EXT,
            ..defaults
        }
    }
}

/// [`Session::MEMBER_CONTENT`](crate::Session::MEMBER_CONTENT), as the library has it.
const MEMBER_CONTENT: u32 = 64 * 1024;
