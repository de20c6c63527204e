//! Memory for what is compressed and decompressed.

#![allow(
    unsafe_code,
    reason = "memory that the library allocates is a slice here"
)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::Library;
use crate::bindings::PINNED_MEM;

/// A buffer that the device reads and writes without a copy, or one of common memory. It stays on the
/// thread that made it.
pub struct Buffer {
    memory: Memory,
}

enum Memory {
    /// Of `qzMalloc`: `len` bytes, all of them initialised.
    Pinned {
        start: NonNull<u8>,
        len: usize,
        library: Library,
    },
    Common(Vec<u8>),
}

impl Buffer {
    /// A buffer of common memory, all zero.
    pub fn common(len: usize) -> Self {
        Self {
            memory: Memory::Common(vec![0; len]),
        }
    }

    /// A buffer that the device reaches, all zero; `None` if there is no such memory.
    pub(crate) fn pinned(library: &Library, len: usize) -> Option<Self> {
        // No object is longer, and of nothing there is nothing to pin.
        if len == 0 || isize::try_from(len).is_err() {
            return None;
        }
        // SAFETY: it takes any length and answers null if it has not that much. Node 0 is what every
        // release takes.
        let start = unsafe { (library.functions().malloc)(len, NODE, PINNED_MEM) };
        let start = NonNull::new(start.cast::<u8>())?;
        // SAFETY: the allocation has `len` bytes, and nobody else knows it.
        unsafe { start.write_bytes(0, len) };
        Some(Self {
            memory: Memory::Pinned {
                start,
                len,
                library: library.clone(),
            },
        })
    }

    /// Whether the device reaches it without a copy.
    pub fn is_pinned(&self) -> bool {
        matches!(self.memory, Memory::Pinned { .. })
    }
}

impl Library {
    /// Makes a buffer of `len` bytes, all zero: in memory that the device reaches if there is any left,
    /// else in common memory, which the library copies from and to.
    pub fn buffer(&self, len: usize) -> Buffer {
        Buffer::pinned(self, len).unwrap_or_else(|| Buffer::common(len))
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: `len` initialised bytes of an allocation that is this buffer's alone until it is
            // dropped; the slice borrows the buffer.
            Memory::Pinned { start, len, .. } => unsafe {
                slice::from_raw_parts(start.as_ptr(), *len)
            },
            Memory::Common(bytes) => bytes,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: as above, and the buffer is borrowed mutably.
            Memory::Pinned { start, len, .. } => unsafe {
                slice::from_raw_parts_mut(start.as_ptr(), *len)
            },
            Memory::Common(bytes) => bytes,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Memory::Pinned { start, library, .. } = &self.memory {
            // SAFETY: qzMalloc of the same library answered it, and it is freed once. The library is
            // synchronous: between calls its device does not work on a buffer.
            unsafe { (library.functions().free)(start.as_ptr().cast()) };
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_pinned() { "pinned" } else { "common" };
        write!(f, "Buffer({} bytes, {kind})", self.len())
    }
}

/// The memory's NUMA node. -1 for the nearest is not known to all releases.
const NODE: i32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_memory_is_zero() {
        let mut buffer = Buffer::common(3);
        assert_eq!((&buffer[..], buffer.is_pinned()), (&[0; 3][..], false));
        buffer[1] = 7;
        assert_eq!(&buffer[..], [0, 7, 0]);
    }
}
