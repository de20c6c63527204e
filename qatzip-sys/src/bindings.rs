// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Declarations from `qatzip.h`: the structures and functions that are needed, and no others.

use std::ffi::{c_int, c_long, c_uchar, c_uint, c_ulong, c_void};
use std::mem::{align_of, offset_of, size_of};
use std::ptr;

/// `QzSession_T`: a session, of which the library keeps the inside.
#[repr(C)]
pub(crate) struct RawSession {
    /// Zero where a device is used; the reason where it is not.
    pub(crate) hw_session_stat: c_long,
    /// How the last call went.
    pub(crate) thd_sess_stat: c_int,
    internal: *mut c_void,
    total_in: c_ulong,
    total_out: c_ulong,
}

impl RawSession {
    /// All zero, as `qzInit` wants it.
    pub(crate) fn new() -> Self {
        Self {
            hw_session_stat: 0,
            thd_sess_stat: 0,
            internal: ptr::null_mut(),
            total_in: 0,
            total_out: 0,
        }
    }
}

/// `QzSessionParamsDeflate_T`, with `QzSessionParamsCommon_T` written out at its start.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeflateParams {
    pub(crate) direction: c_uint,
    pub(crate) comp_lvl: c_uint,
    pub(crate) comp_algorithm: c_uchar,
    pub(crate) max_forks: c_uint,
    pub(crate) sw_backup: c_uchar,
    pub(crate) hw_buff_sz: c_uint,
    pub(crate) strm_buff_sz: c_uint,
    pub(crate) input_sz_thrshold: c_uint,
    pub(crate) req_cnt_thrshold: c_uint,
    pub(crate) wait_cnt_thrshold: c_uint,
    pub(crate) polling_mode: c_uint,
    pub(crate) is_sensitive_mode: c_uint,
    pub(crate) huffman_hdr: c_uint,
    pub(crate) data_fmt: c_uint,
}

/// What `qzGetDefaultsDeflate` may write to: more than the structure, so that a longer one is noticed
/// rather than written past the end.
#[repr(C)]
pub(crate) struct ParamsRoom([u32; ROOM_WORDS]);

impl ParamsRoom {
    pub(crate) fn new() -> Self {
        Self([UNTOUCHED; ROOM_WORDS])
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut DeflateParams {
        const { assert!(align_of::<Self>() >= align_of::<DeflateParams>()) };
        ptr::from_mut(self).cast()
    }

    /// What the library wrote.
    ///
    /// # Errors
    /// It is not the structure that is declared here: what is wrong.
    pub(crate) fn params(&self) -> Result<DeflateParams, String> {
        let end = size_of::<DeflateParams>() / WORD;
        if self.0.iter().skip(end).any(|word| *word != UNTOUCHED) {
            return Err(format!(
                "its parameters are longer than {} bytes",
                end * WORD
            ));
        }
        let word = |offset: usize| self.0.get(offset / WORD).copied().unwrap_or(UNTOUCHED);
        let byte = |offset: usize| {
            let [low, ..] = word(offset).to_ne_bytes();
            low
        };
        let params = DeflateParams {
            direction: word(offset_of!(DeflateParams, direction)),
            comp_lvl: word(offset_of!(DeflateParams, comp_lvl)),
            comp_algorithm: byte(offset_of!(DeflateParams, comp_algorithm)),
            max_forks: word(offset_of!(DeflateParams, max_forks)),
            sw_backup: byte(offset_of!(DeflateParams, sw_backup)),
            hw_buff_sz: word(offset_of!(DeflateParams, hw_buff_sz)),
            strm_buff_sz: word(offset_of!(DeflateParams, strm_buff_sz)),
            input_sz_thrshold: word(offset_of!(DeflateParams, input_sz_thrshold)),
            req_cnt_thrshold: word(offset_of!(DeflateParams, req_cnt_thrshold)),
            wait_cnt_thrshold: word(offset_of!(DeflateParams, wait_cnt_thrshold)),
            polling_mode: word(offset_of!(DeflateParams, polling_mode)),
            is_sensitive_mode: word(offset_of!(DeflateParams, is_sensitive_mode)),
            huffman_hdr: word(offset_of!(DeflateParams, huffman_hdr)),
            data_fmt: word(offset_of!(DeflateParams, data_fmt)),
        };
        let plausible = params.direction <= DIR_BOTH
            && (1..=12).contains(&params.comp_lvl)
            && params.comp_algorithm == DEFLATE
            && params.sw_backup <= 3
            && params.hw_buff_sz.is_power_of_two()
            && params.input_sz_thrshold < params.hw_buff_sz
            && params.req_cnt_thrshold >= LEAST_REQUESTS
            && params.req_cnt_thrshold != UNTOUCHED
            && params.polling_mode <= 1
            && params.is_sensitive_mode <= 1
            && params.huffman_hdr <= 1
            && params.data_fmt <= DEFLATE_RAW;
        if plausible {
            Ok(params)
        } else {
            Err(format!(
                "its parameters are not laid out as wanted: {params:?}"
            ))
        }
    }
}

/// The functions, by their names without `qz`.
pub(crate) struct Functions {
    pub(crate) init: unsafe extern "C" fn(*mut RawSession, c_uchar) -> c_int,
    pub(crate) get_defaults_deflate: unsafe extern "C" fn(*mut DeflateParams) -> c_int,
    pub(crate) setup_session_deflate:
        unsafe extern "C" fn(*mut RawSession, *mut DeflateParams) -> c_int,
    pub(crate) compress: unsafe extern "C" fn(
        *mut RawSession,
        *const c_uchar,
        *mut c_uint,
        *mut c_uchar,
        *mut c_uint,
        c_uint,
    ) -> c_int,
    pub(crate) decompress: unsafe extern "C" fn(
        *mut RawSession,
        *const c_uchar,
        *mut c_uint,
        *mut c_uchar,
        *mut c_uint,
    ) -> c_int,
    pub(crate) teardown_session: unsafe extern "C" fn(*mut RawSession) -> c_int,
    pub(crate) close: unsafe extern "C" fn(*mut RawSession) -> c_int,
    pub(crate) malloc: Malloc,
    /// Whether there is `qzCompress2`, which is not called.
    pub(crate) is_asynchronous: bool,
    /// Not in every release.
    pub(crate) set_log_level: Option<unsafe extern "C" fn(c_uint) -> c_uint>,
}

/// `qzMalloc`. Its counterpart `qzFree` is never called: see `pool.rs`.
pub(crate) type Malloc = unsafe extern "C" fn(usize, c_int, c_int) -> *mut c_void;

/// `QZ_DIR_BOTH`.
pub(crate) const DIR_BOTH: c_uint = 2;
/// `QZ_DYNAMIC_HDR`.
pub(crate) const DYNAMIC_HDR: c_uint = 0;
/// `QZ_DEFLATE_GZIP_EXT`.
pub(crate) const DEFLATE_GZIP_EXT: c_uint = 2;
const DEFLATE_RAW: c_uint = 3;
/// `QZ_DEFLATE`, the number that gzip has for deflate.
const DEFLATE: c_uchar = 8;
/// `PINNED_MEM`.
pub(crate) const PINNED_MEM: c_int = 1;
/// `LOG_NONE`.
pub(crate) const LOG_NONE: c_uint = 0;

/// A call that takes more requests to the device than `req_cnt_thrshold` starts a thread. 512 KiB of
/// content are 8 requests, and 1 MiB of members is counted as 32.
const LEAST_REQUESTS: c_uint = 32;

const WORD: usize = size_of::<u32>();
const ROOM_WORDS: usize = 64;
/// No field has this value.
const UNTOUCHED: u32 = 0xaaaa_aaaa;

#[cfg(test)]
mod tests {
    use super::*;

    /// What libqatzip 1.3.1 and 2.0.0 write, as words; one byte of a word that holds a byte.
    const WRITTEN: [u32; 14] = [
        2,
        1,
        0xaaaa_aa08,
        3,
        0xaaaa_aa01,
        0x1_0000,
        0x1_0000,
        1024,
        32,
        8,
        0,
        0,
        0,
        2,
    ];

    fn room(words: &[u32]) -> ParamsRoom {
        let mut room = ParamsRoom::new();
        for (to, from) in room.0.iter_mut().zip(words) {
            *to = *from;
        }
        room
    }

    #[test]
    #[cfg(all(target_endian = "little", target_pointer_width = "64"))]
    fn structures_are_as_a_compiler_of_c_lays_them_out() {
        assert_eq!(size_of::<RawSession>(), 40);
        assert_eq!(offset_of!(RawSession, internal), 16);
        assert_eq!(size_of::<DeflateParams>(), 56);
        assert_eq!(offset_of!(DeflateParams, hw_buff_sz), 20);
        assert_eq!(offset_of!(DeflateParams, data_fmt), 52);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_structure_that_is_declared_is_read() {
        let params = room(&WRITTEN).params().unwrap();
        assert_eq!(params.comp_lvl, 1);
        assert_eq!(params.comp_algorithm, 8);
        assert_eq!(params.sw_backup, 1);
        assert_eq!(params.hw_buff_sz, 64 * 1024);
        assert_eq!(params.req_cnt_thrshold, 32);
        assert_eq!(params.data_fmt, DEFLATE_GZIP_EXT);
    }

    #[test]
    fn another_structure_is_noticed() {
        let shorter: Vec<u32> = WRITTEN.iter().copied().take(13).collect();
        let longer = [&WRITTEN[..], &[0]].concat();
        let shifted = [&WRITTEN[..5], &[0], &WRITTEN[5..13]].concat();
        for words in [&[][..], &shorter, &longer, &shifted] {
            room(words).params().unwrap_err();
        }
    }
}
