// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is given to the kernel, or to a host's own transport, in one call.

use std::fmt;
use std::marker::PhantomData;
use std::{ptr, slice};

use super::Span;

/// Bytes to send: a piece of private memory or of the guest's.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct IoVec<'a> {
    raw: libc::iovec,
    bytes: PhantomData<&'a [u8]>,
}

/// Room for bytes to receive: a piece of private memory or of the guest's.
#[repr(transparent)]
pub struct IoVecMut<'a> {
    raw: libc::iovec,
    bytes: PhantomData<&'a mut [u8]>,
}

// SAFETY: it is a borrowed slice, or a Span, which is Send; only the raw pointer hides that.
unsafe impl Send for IoVec<'_> {}
// SAFETY: as above.
unsafe impl Send for IoVecMut<'_> {}

impl IoVec<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.raw.iov_len
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.raw.iov_len == 0
    }

    /// Copies the bytes out, as many as both have, and returns how many: for a transport that
    /// cannot take raw memory, such as TLS.
    pub fn copy_to(&self, target: &mut [u8]) -> usize {
        let count = self.len().min(target.len());
        // SAFETY: the vector is a slice or a span (the only ways to make one), readable over its
        // length; `target` is an exclusive reference, so it is neither.
        unsafe { ptr::copy_nonoverlapping(self.raw.iov_base.cast(), target.as_mut_ptr(), count) };
        count
    }

    /// Takes the first `count` bytes off a list, because they have been sent.
    pub fn advance(list: &mut &mut [Self], count: usize) {
        advance(list, count, |vec| &mut vec.raw);
    }
}

impl IoVecMut<'_> {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.raw.iov_len
    }

    /// Whether there is no room.
    pub fn is_empty(&self) -> bool {
        self.raw.iov_len == 0
    }

    /// Copies bytes in, as many as both have, and returns how many: for a transport that cannot
    /// take raw memory, such as TLS.
    pub fn copy_from(&mut self, source: &[u8]) -> usize {
        let count = self.len().min(source.len());
        // SAFETY: the vector is an exclusive slice or a span, writable over its length; `source` is
        // a reference, so it is neither.
        unsafe { ptr::copy_nonoverlapping(source.as_ptr(), self.raw.iov_base.cast(), count) };
        count
    }

    /// Takes the first `count` bytes off a list, because they have been filled.
    pub fn advance(list: &mut &mut [Self], count: usize) {
        advance(list, count, |vec| &mut vec.raw);
    }
}

impl<'a> From<&'a [u8]> for IoVec<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        let raw = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        Self {
            raw,
            bytes: PhantomData,
        }
    }
}

impl<'a> From<Span<'a>> for IoVec<'a> {
    fn from(span: Span<'a>) -> Self {
        let raw = libc::iovec {
            iov_base: span.base().cast(),
            iov_len: span.len(),
        };
        Self {
            raw,
            bytes: PhantomData,
        }
    }
}

impl<'a> From<&'a mut [u8]> for IoVecMut<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        let raw = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        Self {
            raw,
            bytes: PhantomData,
        }
    }
}

impl<'a> From<Span<'a>> for IoVecMut<'a> {
    fn from(span: Span<'a>) -> Self {
        let raw = libc::iovec {
            iov_base: span.base().cast(),
            iov_len: span.len(),
        };
        Self {
            raw,
            bytes: PhantomData,
        }
    }
}

impl Default for IoVecMut<'_> {
    /// No room.
    fn default() -> Self {
        Self::from(&mut [][..])
    }
}

impl fmt::Debug for IoVec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoVec({} bytes)", self.len())
    }
}

impl fmt::Debug for IoVecMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoVecMut({} bytes)", self.len())
    }
}

/// Shortens the first vector that is not used up, and takes those before it off the list.
fn advance<T>(list: &mut &mut [T], mut count: usize, raw: fn(&mut T) -> &mut libc::iovec) {
    let mut done = 0;
    for vec in list.iter_mut().map(raw) {
        if count < vec.iov_len {
            vec.iov_base = vec.iov_base.cast::<u8>().wrapping_add(count).cast();
            vec.iov_len -= count;
            break;
        }
        count -= vec.iov_len;
        done += 1;
    }
    let (_, rest) = std::mem::take(list).split_at_mut(done);
    *list = rest;
}

/// A list of [`IoVec`]s whose memory is used again for every packet.
///
/// The vectors in it live for one packet only; the list lives as long as its channel.
#[derive(Default)]
pub struct IoVecList {
    raw: Vec<libc::iovec>,
}

// SAFETY: between packets the list is empty, and within one it holds IoVecs, which are Send.
unsafe impl Send for IoVecList {}

impl IoVecList {
    /// A list that holds `capacity` vectors without allocating.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            raw: Vec::with_capacity(capacity),
        }
    }

    /// Empties the list and lends it to one packet.
    pub fn start<'l, 'a>(&'l mut self) -> IoVecs<'l, 'a> {
        self.raw.clear();
        IoVecs {
            list: self,
            bytes: PhantomData,
        }
    }
}

impl fmt::Debug for IoVecList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoVecList(capacity {})", self.raw.capacity())
    }
}

/// The vectors of one packet, all valid for `'a`.
#[derive(Debug)]
pub struct IoVecs<'l, 'a> {
    list: &'l mut IoVecList,
    bytes: PhantomData<IoVec<'a>>,
}

impl<'a> IoVecs<'_, 'a> {
    /// Adds a vector.
    pub fn push(&mut self, vec: impl Into<IoVec<'a>>) {
        self.list.raw.push(vec.into().raw);
    }

    /// The vectors so far.
    pub fn as_mut_slice(&mut self) -> &mut [IoVec<'a>] {
        let raw = &mut self.list.raw;
        // SAFETY: IoVec is a transparent wrapper of iovec, and everything in the list since
        // `start` was pushed as an IoVec<'a>.
        unsafe { slice::from_raw_parts_mut(raw.as_mut_ptr().cast(), raw.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(list: &[IoVec<'_>]) -> Vec<u8> {
        let mut all = Vec::new();
        for vec in list {
            let mut bytes = vec![0; vec.len()];
            assert_eq!(vec.copy_to(&mut bytes), bytes.len());
            all.extend(bytes);
        }
        all
    }

    proptest! {
        #[test]
        fn advancing_drops_just_what_was_sent(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
            count in 0usize..120,
        ) {
            let mut list = IoVecList::default();
            let mut vecs = list.start();
            for part in &parts {
                vecs.push(part.as_slice());
            }
            let mut rest = vecs.as_mut_slice();
            IoVec::advance(&mut rest, count);
            let all = parts.concat();
            prop_assert_eq!(bytes_of(rest), &all[count.min(all.len())..]);
        }
    }

    #[test]
    fn filling_in_pieces() {
        let (mut first, mut second) = ([0; 3], [0; 4]);
        let mut list = [
            IoVecMut::from(&mut first[..]),
            IoVecMut::from(&mut second[..]),
        ];
        let mut room = &mut list[..];
        let mut source = &b"abcdefg"[..];
        while let Some(vec) = room.first_mut() {
            let count = vec.copy_from(&source[..2.min(source.len())]);
            source = &source[count..];
            IoVecMut::advance(&mut room, count);
        }
        assert_eq!((&first, &second), (b"abc", b"defg"));
    }
}
