// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The memory that a device was ever given: kept as long as the process runs.
//!
//! libqatzip takes an address for one that the device reaches if it ever was, and does not forget it when
//! the memory is freed. What lies there later, a stack for instance, would be given to the device under an
//! address that is somebody else's by then. And a call that failed may have left the device at work. So
//! nothing is given back to the library. What is not used any more waits here for the next migration;
//! what a device may still be working with is *quarantined*: it stays as it is, and nobody touches it.

#![allow(
    unsafe_code,
    reason = "memory that the library allocates is a slice here"
)]

use std::ptr::NonNull;
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Library;
use crate::bindings::{Malloc, PINNED_MEM};

/// An allocation that is never freed.
pub(crate) struct Memory {
    start: NonNull<u8>,
    /// How many bytes it has.
    room: usize,
    /// How many of them were asked for.
    len: usize,
    kind: Kind,
}

// SAFETY: the memory is the value's alone, and lives as long as the process, on whatever thread. The library
// itself is not called when it changes threads, nor when it is dropped.
unsafe impl Send for Memory {}

// SAFETY: as for a slice: a shared reference only reads.
unsafe impl Sync for Memory {}

/// Where memory is from. One library does not know another one's.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// The address of the library's `qzMalloc`.
    library: usize,
    is_pinned: bool,
}

impl Memory {
    /// Memory that the device reaches, all zero; `None` if there is none.
    pub(crate) fn pinned(library: &Library, len: usize) -> Option<Self> {
        let malloc = library.functions().malloc;
        Self::find_or(Kind::of(malloc, true), len, || {
            // SAFETY: it takes any length and answers null if it has not that much. Node 0 is what every
            // release takes.
            let start = unsafe { malloc(len, NODE, PINNED_MEM) };
            NonNull::new(start.cast::<u8>())
        })
    }

    /// Common memory, all zero.
    pub(crate) fn common(library: &Library, len: usize) -> Option<Self> {
        Self::find_or(Kind::of(library.functions().malloc, false), len, || {
            let memory = Box::leak(vec![0u8; len].into_boxed_slice());
            NonNull::new(memory.as_mut_ptr())
        })
    }

    fn find_or(
        kind: Kind,
        len: usize,
        allocate: impl FnOnce() -> Option<NonNull<u8>>,
    ) -> Option<Self> {
        // No object is longer, and of nothing there is nothing to pin.
        if len == 0 || isize::try_from(len).is_err() {
            return None;
        }
        let found = Pool::lock().take(kind, len);
        let mut memory = match found {
            Found::Waiting(memory) => memory,
            Found::MayBeMade => {
                let Some(start) = allocate() else {
                    Pool::lock().made -= len;
                    return None;
                };
                // SAFETY: the allocation has `len` bytes, and nobody else knows it.
                unsafe { start.write_bytes(0, len) };
                return Some(Self {
                    start,
                    room: len,
                    len,
                    kind,
                });
            }
            Found::Nothing => return None,
        };
        memory.len = len;
        memory.bytes_mut().fill(0);
        Some(memory)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `room` initialised bytes, of which `len` are a part, of an allocation that is this value's
        // alone and is never freed. No device works with it: what a device may still write to is taken out
        // of its `Buffer` before the call that gave it to the device returns. The slice borrows the value.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the value is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Nobody works with it: the next one may have it.
    pub(crate) fn give_back(self) {
        Pool::lock().waiting.push(self);
    }

    /// A device may still work with it: nobody gets it any more, and it stays where it is.
    pub(crate) fn quarantine(self) {
        Pool::lock().quarantine(self.kind.library, self.room);
    }
}

impl Kind {
    fn of(malloc: Malloc, is_pinned: bool) -> Self {
        Self {
            library: malloc as *const () as usize,
            is_pinned,
        }
    }
}

/// What no one uses, and how much there is in all.
struct Pool {
    waiting: Vec<Memory>,
    /// Bytes that were ever allocated.
    made: usize,
    /// Bytes that nobody may use any more, of each library.
    quarantined: Vec<(usize, usize)>,
}

enum Found {
    Waiting(Memory),
    /// As many bytes may be allocated, and are counted already.
    MayBeMade,
    /// There is too much.
    Nothing,
}

impl Pool {
    /// The process's. Nothing is called while it is held.
    fn lock() -> MutexGuard<'static, Self> {
        // Each change is complete before anything can panic.
        POOL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn quarantined(&self, library: usize) -> usize {
        let of_it = self.quarantined.iter().filter(|(of, _)| *of == library);
        of_it.map(|(_, bytes)| bytes).sum()
    }

    fn quarantine(&mut self, library: usize, bytes: usize) {
        match self.quarantined.iter_mut().find(|(of, _)| *of == library) {
            Some((_, all)) => *all += bytes,
            None => self.quarantined.push((library, bytes)),
        }
    }

    /// The smallest that waits and is large enough, or leave to make one.
    fn take(&mut self, kind: Kind, len: usize) -> Found {
        if self.quarantined(kind.library) > MOST_QUARANTINED {
            return Found::Nothing;
        }
        let fitting = self.waiting.iter().enumerate().filter(|(_, memory)| {
            // Much larger ones wait for those who need them.
            memory.kind == kind && (len..=len.saturating_mul(2)).contains(&memory.room)
        });
        let best = fitting
            .min_by_key(|(_, memory)| memory.room)
            .map(|(at, _)| at);
        if let Some(at) = best {
            return Found::Waiting(self.waiting.swap_remove(at));
        }
        match self.made.checked_add(len) {
            Some(made) if made <= MOST => {
                self.made = made;
                Found::MayBeMade
            }
            _ => Found::Nothing,
        }
    }
}

/// The one thing here that lives as long as the process: see the module's documentation.
static POOL: Mutex<Pool> = Mutex::new(Pool {
    waiting: Vec::new(),
    made: 0,
    quarantined: Vec::new(),
});

/// Bytes that a process has at most: two buffers for each of 255 channels, both ways, and as much again.
const MOST: usize = 1 << 30;
/// Bytes with which a library's devices may be left at work before a process does without them. Each time that a device
/// fails costs about 1.5 MiB, and a peer that sends damaged data can make it fail.
const MOST_QUARANTINED: usize = 64 << 20;

/// The memory's NUMA node. -1 for the nearest is not known to all releases.
const NODE: i32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool {
            waiting: Vec::new(),
            made: 0,
            quarantined: Vec::new(),
        }
    }

    fn memory(kind: Kind, room: usize) -> Memory {
        let bytes = Box::leak(vec![0u8; room].into_boxed_slice());
        Memory {
            start: NonNull::new(bytes.as_mut_ptr()).unwrap(),
            room,
            len: room,
            kind,
        }
    }

    const KIND: Kind = Kind {
        library: 1,
        is_pinned: true,
    };

    #[test]
    fn what_waits_is_used_again_by_its_own_library() {
        let mut pool = pool();
        for room in [50, 20, 10] {
            pool.waiting.push(memory(KIND, room));
        }
        let common = Kind {
            is_pinned: false,
            ..KIND
        };
        assert!(matches!(pool.take(common, 10), Found::MayBeMade));
        let Found::Waiting(memory) = pool.take(KIND, 15) else {
            panic!("20 bytes were waiting");
        };
        assert_eq!(memory.room, 20);
        // 50 bytes are too much for 15.
        assert!(matches!(pool.take(KIND, 15), Found::MayBeMade));
        assert_eq!((pool.made, pool.waiting.len()), (25, 2));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut pool = pool();
        assert!(matches!(pool.take(KIND, MOST), Found::MayBeMade));
        assert!(matches!(pool.take(KIND, 1), Found::Nothing));
        pool.waiting.push(memory(KIND, 5));
        assert!(matches!(pool.take(KIND, 5), Found::Waiting(_)));
        pool.waiting.push(memory(KIND, 5));
        pool.quarantine(KIND.library, MOST_QUARANTINED);
        pool.quarantine(KIND.library, 1);
        assert!(matches!(pool.take(KIND, 5), Found::Nothing));
        // Another library is not at fault.
        let other = Kind { library: 2, ..KIND };
        pool.made = 0;
        assert!(matches!(pool.take(other, 5), Found::MayBeMade));
    }
}
