//! How a session is set up.

use crate::bindings::{DEFLATE_GZIP_EXT, DIR_COMPRESS, DIR_DECOMPRESS, DYNAMIC_HDR, DeflateParams};

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To compress.
    Compress,
    /// To decompress.
    Decompress,
}

/// How a session is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What it is for.
    pub direction: Direction,
    /// 1 to 9.
    pub level: u8,
    /// Whether the library's own software does what a device does not.
    pub software_backup: bool,
}

impl Config {
    /// A session that only a device does the work of.
    pub fn new(direction: Direction, level: u8) -> Self {
        Self {
            direction,
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
            direction: match self.direction {
                Direction::Compress => DIR_COMPRESS,
                Direction::Decompress => DIR_DECOMPRESS,
            },
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
