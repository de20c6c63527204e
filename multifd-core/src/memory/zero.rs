// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Is this memory all zero?

use std::ptr;

/// Bytes that are looked at between two branches.
const STRIDE: usize = 64;

/// Whether `len` bytes at `base` are all zero.
///
/// The loads are volatile: the guest may write meanwhile, and the compiler must not assume that a
/// byte that it loaded twice is the same.
///
/// # Safety
/// `len` bytes from `base` on are mapped readable.
pub(super) unsafe fn is_zero(base: *const u8, len: usize) -> bool {
    // The parts before and after the words that can be loaded whole.
    let head = base.align_offset(align_of::<u64>()).min(len);
    let tail = (len - head) % STRIDE;
    // SAFETY: head <= len and len - tail <= len.
    let (words, end) = unsafe { (base.add(head), base.add(len - tail)) };
    // SAFETY: the three ranges are parts of the one that the caller vouches for.
    unsafe {
        bytes_are_zero(base, head)
            && bytes_are_zero(end, tail)
            && strides_are_zero(words, len - head - tail)
    }
}

/// # Safety
/// `len` bytes from `base` on are mapped readable.
unsafe fn bytes_are_zero(base: *const u8, len: usize) -> bool {
    // SAFETY: `at` < `len`.
    (0..len).all(|at| unsafe { ptr::read_volatile(base.add(at)) } == 0)
}

/// # Safety
/// As [`bytes_are_zero`]; `base` is aligned for u64 and `len` a multiple of [`STRIDE`].
unsafe fn strides_are_zero(base: *const u8, len: usize) -> bool {
    let mut at = 0;
    while at < len {
        let mut all = 0;
        let mut word = 0;
        while word < STRIDE {
            // SAFETY: at + word + 8 <= len, and the sum of multiples of 8 is aligned.
            all |= unsafe { ptr::read_volatile(base.add(at + word).cast::<u64>()) };
            word += size_of::<u64>();
        }
        if all != 0 {
            return false;
        }
        at += STRIDE;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8]) -> bool {
        // SAFETY: a slice is readable over its length.
        unsafe { is_zero(bytes.as_ptr(), bytes.len()) }
    }

    #[test]
    fn one_byte_anywhere_is_seen() {
        let mut page = vec![0; 4096];
        assert!(check(&page));
        for at in 0..page.len() {
            page[at] = 1;
            assert!(!check(&page), "{at}");
            page[at] = 0;
        }
    }

    proptest! {
        #[test]
        fn as_the_naive_test(
            start in 0usize..64,
            len in 0usize..512,
            ones in prop::collection::vec((0usize..600, any::<u8>()), 0..2),
        ) {
            let mut bytes = vec![0; 600];
            for (at, value) in ones {
                bytes[at] = value;
            }
            let part = &bytes[start..start + len];
            prop_assert_eq!(check(part), part.iter().all(|byte| *byte == 0));
        }
    }
}
