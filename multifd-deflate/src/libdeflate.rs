// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! libdeflate's decompressor, with the place where a stream ends, which the safe wrapper does not tell.

#![allow(
    unsafe_code,
    reason = "only libdeflate's C function tells where a stream ends"
)]

use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_deflate_decompress_ex,
    libdeflate_free_decompressor,
    libdeflate_result_LIBDEFLATE_INSUFFICIENT_SPACE as INSUFFICIENT_SPACE,
    libdeflate_result_LIBDEFLATE_SUCCESS as SUCCESS,
};

/// A decompressor. It keeps nothing from stream to stream but its tables' memory.
#[derive(Debug)]
pub(crate) struct Inflater {
    decompressor: NonNull<libdeflate_decompressor>,
}

// SAFETY: a decompressor is memory of its own that no thread is tied to.
unsafe impl Send for Inflater {}

impl Inflater {
    pub(crate) fn new() -> Self {
        // SAFETY: the function has no precondition.
        let decompressor = unsafe { libdeflate_alloc_decompressor() };
        let Some(decompressor) = NonNull::new(decompressor) else {
            // As any other allocation of a few KiB in Rust.
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u64; 1024]>());
        };
        Self { decompressor }
    }

    /// Decompresses the stream at the start of `bytes` to the front of `out`.
    pub(crate) fn inflate(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Decoded, Failure> {
        let (mut read, mut written) = (0, 0);
        // SAFETY: the decompressor is alive and borrowed exclusively, the pointers and lengths are those of
        // two slices that do not overlap, and the two counts live over the call. libdeflate reads
        // and writes within the lengths, whatever the data is.
        let result = unsafe {
            libdeflate_deflate_decompress_ex(
                self.decompressor.as_ptr(),
                bytes.as_ptr().cast(),
                bytes.len(),
                out.as_mut_ptr().cast(),
                out.len(),
                &raw mut read,
                &raw mut written,
            )
        };
        match result {
            SUCCESS => Ok(Decoded { read, written }),
            INSUFFICIENT_SPACE => Err(Failure::NoRoom),
            _ => Err(Failure::BadData),
        }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // SAFETY: it was allocated in `new` and is freed only here.
        unsafe { libdeflate_free_decompressor(self.decompressor.as_ptr()) }
    }
}

/// How far a [`Decoder`](crate::Decoder) came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the stream, up to the end of its final block.
    pub read: usize,
    /// Bytes of content.
    pub written: usize,
}

/// Why there is no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    BadData,
    NoRoom,
}
