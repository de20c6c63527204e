// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The encoder.

use super::abi::{
    FIXED_CODES, FULL_FLUSH, LEVEL_2_LEN, NO_FLUSH, OK, RAW_DEFLATE, STREAM_LEN, Stream,
};
use super::library::Library;
use crate::stored::Stream as After;

/// How ISA-L compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Its level 0 with fixed codes: one pass, for a page.
    Fixed,
    /// Its level 2: two passes and codes made for the content. On guest memory it is as fast as level
    /// 1 and makes less of it; level 3 is slower than libdeflate.
    Dynamic,
}

/// A compressor of ISA-L. Nothing goes from stream to stream.
#[derive(Debug)]
pub(crate) struct IsalEncoder {
    library: Library,
    mode: Mode,
    /// `struct isal_zstream`: a [`Stream`] and its private state.
    stream: Box<[u64]>,
    /// What the level works in.
    level_buf: Box<[u64]>,
}

impl IsalEncoder {
    pub(crate) fn new(library: Library, mode: Mode) -> Self {
        let level_len = match mode {
            Mode::Fixed => 0,
            Mode::Dynamic => LEVEL_2_LEN,
        };
        Self {
            library,
            mode,
            stream: words(STREAM_LEN + STREAM_SPARE),
            level_buf: words(level_len),
        }
    }

    /// Writes `content` as one complete stream to the front of `out`, or as part of one that goes on, which ends in a
    /// full flush, and returns its length; `None` if it does not fit.
    pub(crate) fn encode(&mut self, content: &[u8], out: &mut [u8], after: After) -> Option<usize> {
        let stream: *mut Stream = self.stream.as_mut_ptr().cast();
        let functions = &self.library.functions;
        // SAFETY: `stream` points to more zeroed or once initialised bytes than `struct isal_zstream`
        // has, aligned as its pointers, and nobody else uses them.
        let set_up = unsafe {
            (functions.init)(stream);
            match self.mode {
                Mode::Fixed => {
                    (functions.set_hufftables)(stream, std::ptr::null_mut(), FIXED_CODES)
                }
                Mode::Dynamic => OK,
            }
        };
        if set_up != OK {
            return None;
        }
        // SAFETY: as above; the library has written what it wants to the members, and the reference
        // ends before the library uses them again.
        let members = unsafe { &mut *stream };
        members.next_in = content.as_ptr();
        members.avail_in = content.len().try_into().ok()?;
        members.next_out = out.as_mut_ptr();
        members.avail_out = u32::try_from(out.len()).unwrap_or(u32::MAX);
        members.level = match self.mode {
            Mode::Fixed => 0,
            Mode::Dynamic => 2,
        };
        members.level_buf = self.level_buf.as_mut_ptr().cast();
        members.level_buf_size = size_of_val(&*self.level_buf).try_into().ok()?;
        (members.end_of_stream, members.flush) = match after {
            After::Ends => (1, NO_FLUSH),
            After::GoesOn => (0, FULL_FLUSH),
        };
        members.gzip_flag = RAW_DEFLATE;
        members.hist_bits = 0;
        // SAFETY: the stream is initialised; its input and output pointers and lengths are those of two
        // slices that do not overlap and live over the call, its level buffer is of the size named
        // and as large as the level asks for. The library writes to nothing else.
        let result = unsafe { (functions.deflate)(stream) };
        // SAFETY: as for `members`.
        let members = unsafe { &*stream };
        let written = members.total_out as usize;
        (result == OK && members.avail_in == 0 && written <= out.len()).then_some(written)
    }
}

/// Zeroed memory of at least so many bytes, aligned for all that is in it.
fn words(bytes: usize) -> Box<[u64]> {
    vec![0; bytes.div_ceil(size_of::<u64>())].into()
}

/// Room behind the stream's state, should a later version need a little more.
const STREAM_SPARE: usize = 4096;
