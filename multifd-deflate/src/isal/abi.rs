// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is needed of ISA-L's public header `igzip_lib.h`: names, values and layouts, as they are from
//! version 2.30 to 2.32.

use std::ffi::c_int;
use std::mem::offset_of;

/// `struct isal_zstream` without its last member, the private `internal_state`.
#[repr(C)]
pub(super) struct Stream {
    pub(super) next_in: *const u8,
    pub(super) avail_in: u32,
    pub(super) total_in: u32,
    pub(super) next_out: *mut u8,
    pub(super) avail_out: u32,
    pub(super) total_out: u32,
    /// Set by `isal_deflate_stateless_init` and `isal_deflate_set_hufftables`.
    pub(super) hufftables: *mut Hufftables,
    pub(super) level: u32,
    pub(super) level_buf_size: u32,
    pub(super) level_buf: *mut u8,
    pub(super) end_of_stream: u16,
    pub(super) flush: u16,
    pub(super) gzip_flag: u16,
    pub(super) hist_bits: u16,
}

/// `struct isal_hufftables`, which stays inside of the library.
#[repr(C)]
pub(super) struct Hufftables {
    _private: [u8; 0],
}

/// Bytes of `struct isal_zstream` as a whole.
pub(super) const STREAM_LEN: usize = 82384;
/// `ISAL_DEF_LVL2_DEFAULT`: bytes of `level_buf` for level 2, with its table and a token for each byte
/// of 64 KiB.
pub(super) const LEVEL_2_LEN: usize = 331_776;

/// `COMP_OK`.
pub(super) const OK: c_int = 0;
/// `NO_FLUSH`.
pub(super) const NO_FLUSH: u16 = 0;
/// `FULL_FLUSH`.
pub(super) const FULL_FLUSH: u16 = 2;
/// `IGZIP_DEFLATE`: no header and no trailer.
pub(super) const RAW_DEFLATE: u16 = 0;
/// `IGZIP_HUFFTABLE_STATIC`: the fixed codes.
pub(super) const FIXED_CODES: c_int = 2;

/// `isal_deflate_stateless_init`.
pub(super) type Init = unsafe extern "C" fn(stream: *mut Stream);
/// `isal_deflate_set_hufftables`.
pub(super) type SetHufftables =
    unsafe extern "C" fn(stream: *mut Stream, tables: *mut Hufftables, kind: c_int) -> c_int;
/// `isal_deflate_stateless`.
pub(super) type Deflate = unsafe extern "C" fn(stream: *mut Stream) -> c_int;

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Stream>() == 64);
    assert!(offset_of!(Stream, next_in) == 0 && offset_of!(Stream, avail_in) == 8);
    assert!(offset_of!(Stream, total_in) == 12 && offset_of!(Stream, next_out) == 16);
    assert!(offset_of!(Stream, avail_out) == 24 && offset_of!(Stream, total_out) == 28);
    assert!(offset_of!(Stream, hufftables) == 32 && offset_of!(Stream, level) == 40);
    assert!(offset_of!(Stream, level_buf_size) == 44 && offset_of!(Stream, level_buf) == 48);
    assert!(offset_of!(Stream, end_of_stream) == 56 && offset_of!(Stream, flush) == 58);
    assert!(offset_of!(Stream, gzip_flag) == 60 && offset_of!(Stream, hist_bits) == 62);
};
