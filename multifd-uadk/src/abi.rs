// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What UADK's public headers declare of the functions that are used here, typed by hand:
//! `wd_comp.h`, `wd_alg_common.h`, `wd_sched.h` and `wd.h`.
//!
//! Versions 2.4 to 2.11 agree on all fields that stand here. Later ones append fields to the two
//! structures that set a session up, where zero is each field's default, and write to some of them.
//! So both structures end in zeros that are the library's to read and write.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;

/// `handle_t`: 0 is no session.
pub(crate) type Handle = usize;

/// `wd_comp_init2_`: opens the library's one state of the process. The algorithm is a text that
/// ends in 0; no context parameters ask for the defaults. Returns 0, or an error below 0.
pub(crate) type Init2 = unsafe extern "C" fn(
    algorithm: *mut c_char,
    scheduler: u32,
    task: c_int,
    contexts: *mut c_void,
) -> c_int;

/// `wd_comp_uninit2`: closes that state.
pub(crate) type Uninit2 = unsafe extern "C" fn();

/// `wd_comp_alloc_sess`: a session, or 0.
pub(crate) type AllocSession = unsafe extern "C" fn(setup: *mut SessionSetup) -> Handle;

/// `wd_comp_free_sess`.
pub(crate) type FreeSession = unsafe extern "C" fn(session: Handle);

/// `wd_do_comp_sync`: does one request and waits for it. Returns 0, or an error below 0.
pub(crate) type DoSync = unsafe extern "C" fn(session: Handle, request: *mut Request) -> c_int;

/// `wd_do_comp_async`: gives one request to the device and returns. Returns 0, or an error below 0, and then it has
/// given it nothing.
pub(crate) type DoAsync = DoSync;

/// `wd_comp_poll`: looks for requests of all sessions that are done, no more than `most`, and calls their callbacks.
/// Returns 0, or an error below 0.
pub(crate) type Poll = unsafe extern "C" fn(most: u32, count: *mut u32) -> c_int;

/// `wd_alg_comp_cb_t`: `request` is the library's own copy, `argument` the request's `callback_argument`. Nobody looks
/// at the answer.
pub(crate) type Callback =
    unsafe extern "C" fn(request: *mut Request, argument: *mut c_void) -> *mut c_void;

/// `struct wd_comp_sess_setup`.
#[repr(C)]
pub(crate) struct SessionSetup {
    pub(crate) algorithm: c_int,
    pub(crate) level: c_int,
    pub(crate) window: c_int,
    pub(crate) operation: c_int,
    pub(crate) scheduling: *mut Scheduling,
    /// From 2.10 on: seven words for how memory is had, one for whose it is.
    pub(crate) later: [u64; 32],
}

/// `struct sched_params`.
#[repr(C)]
pub(crate) struct Scheduling {
    /// The device's node; below 0 for the one of the calling thread.
    pub(crate) numa_node: c_int,
    pub(crate) operation: u8,
    pub(crate) mode: u8,
    pub(crate) begin: u32,
    pub(crate) end: u32,
    /// From 2.10 on: a device's number, and what kind of queue.
    pub(crate) later: [u64; 16],
}

/// `struct wd_comp_req`.
#[repr(C)]
pub(crate) struct Request {
    pub(crate) source: *mut c_void,
    /// Bytes there are; then, bytes that were read.
    pub(crate) source_len: u32,
    pub(crate) target: *mut c_void,
    /// Bytes of room; then, bytes that were written.
    pub(crate) target_len: u32,
    pub(crate) callback: Option<Callback>,
    pub(crate) callback_argument: *mut c_void,
    pub(crate) operation: c_int,
    pub(crate) buffers: c_int,
    pub(crate) last: u32,
    /// 0, or what the device said.
    pub(crate) status: u32,
    pub(crate) private: *mut c_void,
}

impl SessionSetup {
    /// A session for zlib streams of pages, as QEMU asks for it.
    pub(crate) fn new(operation: c_int, scheduling: &mut Scheduling) -> Self {
        Self {
            algorithm: ZLIB,
            level: LEVEL_1,
            window: WINDOW_4K,
            operation,
            scheduling: ptr::from_mut(scheduling),
            later: [0; 32],
        }
    }
}

impl Scheduling {
    /// Queues of the calling thread's node.
    pub(crate) fn new(operation: u8, is_async: bool) -> Self {
        Self {
            numa_node: -1,
            operation,
            mode: if is_async { MODE_ASYNC } else { MODE_SYNC },
            begin: 0,
            end: 0,
            later: [0; 16],
        }
    }
}

/// The algorithm's name for `wd_comp_init2_`.
pub(crate) const ALGORITHM: [u8; 5] = *b"zlib\0";
/// `SCHED_POLICY_RR`: a session's requests go to the queues in turn.
pub(crate) const SCHEDULER_ROUND_ROBIN: u32 = 0;
/// `TASK_HW`: devices only.
pub(crate) const TASK_HARDWARE: c_int = 1;
/// `WD_DIR_COMPRESS`.
pub(crate) const COMPRESS: u8 = 0;
/// `WD_DIR_DECOMPRESS`.
pub(crate) const DECOMPRESS: u8 = 1;
/// `WD_FLAT_BUF`: source and target are one piece each.
pub(crate) const FLAT: c_int = 0;

/// `WD_ZLIB`.
const ZLIB: c_int = 1;
/// `WD_COMP_L1`.
const LEVEL_1: c_int = 1;
/// `WD_COMP_WS_4K`.
const WINDOW_4K: c_int = 0;
/// `CTX_MODE_SYNC`.
const MODE_SYNC: u8 = 0;
/// `CTX_MODE_ASYNC`.
const MODE_ASYNC: u8 = 1;

/// `WD_EAGAIN`: nothing is done yet.
pub(crate) const EAGAIN: c_int = 11;
/// `WD_EBUSY`: a queue is full, and the request was not accepted.
pub(crate) const EBUSY: c_int = 16;
/// `WD_EEXIST`: the process has opened the library's state already.
pub(crate) const EEXIST: c_int = 17;
/// `WD_ENODEV`.
pub(crate) const ENODEV: c_int = 19;
/// `WD_EINVAL`: also that there are no queues of this mode.
pub(crate) const EINVAL: c_int = 22;
/// `WD_HW_EACCESS`: the device is being reset.
pub(crate) const HARDWARE_DENIED: c_int = 62;
/// `WD_ETIMEDOUT`: the device has not answered, and may still do so.
pub(crate) const ETIMEDOUT: c_int = 110;

/// `WD_STREAM_END`: the end of a stream was seen, which is as good as no status.
pub(crate) const STATUS_STREAM_END: u32 = 1;
/// `WD_OUT_EPARA`: the target is too small.
pub(crate) const STATUS_TARGET: u32 = 66;

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Where a C compiler puts the fields of the headers' structures on 64-bit Linux.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_layouts_of_the_headers() {
        assert_eq!(offset_of!(SessionSetup, scheduling), 16);
        assert_eq!(offset_of!(SessionSetup, later), 24);
        assert_eq!(offset_of!(Scheduling, operation), 4);
        assert_eq!(offset_of!(Scheduling, mode), 5);
        assert_eq!(offset_of!(Scheduling, begin), 8);
        assert_eq!(offset_of!(Scheduling, end), 12);
        assert_eq!(offset_of!(Scheduling, later), 16);
        assert_eq!(offset_of!(Request, target), 16);
        assert_eq!(offset_of!(Request, callback), 32);
        assert_eq!(offset_of!(Request, operation), 48);
        assert_eq!(offset_of!(Request, status), 60);
        assert_eq!(size_of::<Request>(), 72);
    }
}
