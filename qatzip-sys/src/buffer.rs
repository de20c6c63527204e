// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory for what is compressed and decompressed.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Library;
use crate::pool::Memory;

/// Memory that a session reads and writes: the only one that a session takes.
///
/// It comes from a pool that keeps it as long as the process runs, and goes back there when it is dropped.
/// libqatzip never forgets which addresses a device has reached, and a device may still write when the
/// library has given up: so this memory is neither freed nor used for anything else, ever.
///
/// A buffer that a device may still write to is empty from then on, and its memory is never used again.
pub struct Buffer {
    /// `None` once a device may write to it though nobody waits for that.
    memory: Option<Memory>,
    /// Whether a device may still read it.
    is_read: AtomicBool,
}

impl Buffer {
    pub(crate) fn new(memory: Memory) -> Self {
        Self {
            memory: Some(memory),
            is_read: AtomicBool::new(false),
        }
    }

    /// Whether a device may still work with it: then it is of no more use.
    pub fn is_abandoned(&self) -> bool {
        self.memory.is_none() || self.is_read.load(Ordering::Acquire)
    }

    /// A device may go on to read it for ever.
    pub(crate) fn abandon_to_reader(&self) {
        self.is_read.store(true, Ordering::Release);
    }

    /// A device may go on to write to it for ever.
    pub(crate) fn abandon_to_writer(&mut self) {
        if let Some(memory) = self.memory.take() {
            memory.quarantine();
        }
    }
}

impl Library {
    /// Makes a buffer of `len` bytes, all zero, which the device reaches without a copy; `None` if there is no
    /// such memory left, or if devices were left at work with too much of it.
    pub fn buffer(&self, len: usize) -> Option<Buffer> {
        Memory::pinned(self, len).map(Buffer::new)
    }

    /// Makes a buffer of `len` bytes, all zero, for sessions without a device: in memory that the device reaches
    /// if there is any, else in common memory. `None` as for [`Self::buffer`].
    pub fn buffer_for_software(&self, len: usize) -> Option<Buffer> {
        let memory = Memory::pinned(self, len).or_else(|| Memory::common(self, len));
        memory.map(Buffer::new)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], Memory::bytes)
    }
}

impl DerefMut for Buffer {
    /// Empty also while a device may still read it.
    fn deref_mut(&mut self) -> &mut [u8] {
        if *self.is_read.get_mut() {
            return &mut [];
        }
        self.memory.as_mut().map_or(&mut [], Memory::bytes_mut)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let is_read = *self.is_read.get_mut();
        match self.memory.take() {
            Some(memory) if is_read => memory.quarantine(),
            Some(memory) => memory.give_back(),
            None => {}
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes", self.len())?;
        if self.is_abandoned() {
            f.write_str(", abandoned")?;
        }
        f.write_str(")")
    }
}
