// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What libqpl's public C headers declare of what is used here, typed by hand: `job.h`, `defs.h` and
//! `version.h`.
//!
//! `qpl_job` is a public structure, and its layout is part of the library's interface. It is the same
//! in every release from 1.1.0 to 1.9.0.

use std::ffi::{c_char, c_void};

/// `qpl_job`. The memory behind it is the library's; [`GetJobSize`] tells how much there has to be.
///
/// What no job of this crate uses is left at 0.
#[repr(C)]
pub(crate) struct RawJob {
    /// The next byte to read.
    pub(crate) next_in: *const u8,
    /// Bytes that are left to read.
    pub(crate) available_in: u32,
    /// Bytes that were read.
    pub(crate) total_in: u32,
    /// Where the next byte is written.
    pub(crate) next_out: *mut u8,
    /// Bytes that may still be written.
    pub(crate) available_out: u32,
    /// Bytes that were written.
    pub(crate) total_out: u32,
    /// One of the `OP_` constants.
    pub(crate) operation: u32,
    /// The `FLAG_` constants.
    pub(crate) flags: u32,
    pub(crate) crc: u32,
    pub(crate) xor_checksum: u32,
    pub(crate) last_bit_offset: u32,
    /// Of compression: [`LEVEL_DEFAULT`].
    pub(crate) level: u32,
    pub(crate) statistics_mode: u32,
    pub(crate) huffman_table: *mut c_void,
    pub(crate) dictionary: *mut c_void,
    pub(crate) mini_block_size: u32,
    pub(crate) index_array: *mut u64,
    pub(crate) index_max_size: u32,
    pub(crate) index_written: u32,
    /// How decompression ends; 0: at the end of the final block, and it is an error if there is none.
    pub(crate) end_processing: u8,
    pub(crate) ignore_start_bits: u8,
    pub(crate) ignore_end_bits: u8,
    pub(crate) crc64_polynomial: u64,
    pub(crate) crc64: u64,
    pub(crate) next_source2: *const u8,
    pub(crate) available_source2: u32,
    pub(crate) source1_bits: u32,
    pub(crate) source2_bits: u32,
    pub(crate) elements: u32,
    pub(crate) out_bits: u32,
    pub(crate) parameter_low: u32,
    pub(crate) parameter_high: u32,
    pub(crate) drop_initial_bytes: u32,
    pub(crate) initial_output_index: u32,
    pub(crate) parser: u32,
    pub(crate) first_index_min: u32,
    pub(crate) last_index_max: u32,
    pub(crate) sum: u32,
    /// The node whose devices are used: [`NUMA_AUTOMATIC`].
    pub(crate) numa_id: i32,
    /// The library's own state.
    pub(crate) private: [*mut c_void; 6],
}

/// `qpl_get_job_size`: how many bytes a job of that path needs. Returns a status.
pub(crate) type GetJobSize = unsafe extern "C" fn(path: u32, size: *mut u32) -> u32;

/// `qpl_init_job`, `qpl_path_t` first: makes memory of that size a job. Returns a status.
pub(crate) type InitJob = unsafe extern "C" fn(path: u32, job: *mut RawJob) -> u32;

/// `qpl_execute_job`, `qpl_submit_job`, `qpl_check_job` and `qpl_fini_job`. They answer a status.
pub(crate) type OnJob = unsafe extern "C" fn(job: *mut RawJob) -> u32;

/// `qpl_get_library_version`: a text such as `1.9.0`.
pub(crate) type GetVersion = unsafe extern "C" fn() -> *const c_char;

/// `qpl_path_hardware`.
pub(crate) const PATH_HARDWARE: u32 = 1;
/// `qpl_path_software`.
pub(crate) const PATH_SOFTWARE: u32 = 2;

/// `qpl_op_decompress`.
pub(crate) const OP_DECOMPRESS: u32 = 0;
/// `qpl_op_compress`.
pub(crate) const OP_COMPRESS: u32 = 1;

/// `QPL_FLAG_FIRST`: the stream starts with this job.
pub(crate) const FLAG_FIRST: u32 = 0x0001;
/// `QPL_FLAG_LAST`: the stream ends with this job.
pub(crate) const FLAG_LAST: u32 = 0x0002;
/// `QPL_FLAG_OMIT_VERIFY`: what was compressed is not decompressed to see.
pub(crate) const FLAG_OMIT_VERIFY: u32 = 0x4000;

/// `qpl_default_level`, the only one that a device has.
pub(crate) const LEVEL_DEFAULT: u32 = 1;
/// The devices of the calling thread's node, from libqpl 1.6 on of its socket: `QPL_DEVICE_NUMA_ID_SOCKET`.
pub(crate) const NUMA_AUTOMATIC: i32 = -1;
/// All devices, from libqpl 1.6 on: `QPL_DEVICE_NUMA_ID_ANY`.
pub(crate) const NUMA_ANY: i32 = -3;

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;

    /// As a C compiler for x86-64 answers, with the headers of 1.9.0.
    #[test]
    fn the_layout_is_that_of_the_headers() {
        let offsets = [
            (offset_of!(RawJob, next_in), 0),
            (offset_of!(RawJob, available_in), 8),
            (offset_of!(RawJob, total_in), 12),
            (offset_of!(RawJob, next_out), 16),
            (offset_of!(RawJob, available_out), 24),
            (offset_of!(RawJob, total_out), 28),
            (offset_of!(RawJob, operation), 32),
            (offset_of!(RawJob, flags), 36),
            (offset_of!(RawJob, last_bit_offset), 48),
            (offset_of!(RawJob, level), 52),
            (offset_of!(RawJob, statistics_mode), 56),
            (offset_of!(RawJob, huffman_table), 64),
            (offset_of!(RawJob, dictionary), 72),
            (offset_of!(RawJob, mini_block_size), 80),
            (offset_of!(RawJob, index_array), 88),
            (offset_of!(RawJob, index_written), 100),
            (offset_of!(RawJob, end_processing), 104),
            (offset_of!(RawJob, ignore_end_bits), 106),
            (offset_of!(RawJob, crc64_polynomial), 112),
            (offset_of!(RawJob, next_source2), 128),
            (offset_of!(RawJob, elements), 148),
            (offset_of!(RawJob, parser), 172),
            (offset_of!(RawJob, sum), 184),
            (offset_of!(RawJob, numa_id), 188),
            (offset_of!(RawJob, private), 192),
        ];
        for (number, (got, want)) in offsets.into_iter().enumerate() {
            assert_eq!(got, want, "entry {number}");
        }
        assert_eq!((size_of::<RawJob>(), align_of::<RawJob>()), (240, 8));
    }
}
