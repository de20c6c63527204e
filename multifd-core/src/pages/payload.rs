// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The payload of a packet that has arrived.

use std::fmt;
use std::io;

use crate::memory::IoVecMut;

use super::{PagesMut, PagesWriter};

/// Where a payload's bytes come from: the channel's connection.
pub trait PayloadSource {
    /// Fills all of `room`, blocking until the bytes are there.
    ///
    /// # Errors
    /// The connection's; an end of the stream before `room` is full is
    /// [`io::ErrorKind::UnexpectedEof`].
    fn fill(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<()>;
}

/// The bytes that follow a packet's header. It cannot be read past its end, and a method must read
/// all of it.
pub struct Payload<'a> {
    source: &'a mut dyn PayloadSource,
    len: usize,
    remaining: usize,
}

/// Why a payload's bytes could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// More bytes are wanted than the packet announced.
    #[error("payload of {len} bytes ends {missing} bytes too early")]
    Ended {
        /// Length of the payload in bytes.
        len: usize,
        /// How many bytes more are wanted.
        missing: usize,
    },
    /// The packet announced more bytes than there is room for.
    #[error("payload of {len} bytes, wanted at most {room}")]
    NoRoom {
        /// Length of the payload in bytes.
        len: usize,
        /// Bytes that there is room for.
        room: usize,
    },
    /// The connection failed.
    #[error(transparent)]
    Connection(#[from] io::Error),
}

impl<'a> Payload<'a> {
    /// The next `len` bytes of `source`.
    pub fn new(source: &'a mut dyn PayloadSource, len: usize) -> Self {
        Self {
            source,
            len,
            remaining: len,
        }
    }

    /// Length of the whole payload in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the payload has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes have not been read yet.
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// Reads the next bytes into `target`, all of it.
    ///
    /// # Errors
    /// Fewer bytes remain, in which case none is read; or the connection failed.
    pub fn read_exact(&mut self, target: &mut [u8]) -> Result<(), PayloadError> {
        self.take(target.len())?;
        Ok(self.source.fill(&mut [target.into()])?)
    }

    /// Reads all bytes that remain to the front of `room`, and returns them.
    ///
    /// # Errors
    /// There is less room, in which case none is read; or the connection failed.
    pub fn read_rest<'r>(&mut self, room: &'r mut [u8]) -> Result<&'r mut [u8], PayloadError> {
        let (len, most) = (self.len, room.len());
        let rest = room
            .get_mut(..self.remaining)
            .ok_or(PayloadError::NoRoom { len, room: most })?;
        self.read_exact(rest)?;
        Ok(rest)
    }

    /// Reads the next bytes straight into the guest's pages, all of them.
    ///
    /// # Errors
    /// As [`Self::read_exact`].
    pub fn read_pages(&mut self, pages: &PagesMut<'_>) -> Result<(), PayloadError> {
        self.take(pages.bytes())?;
        // A call takes only so many vectors: most packets have fewer runs.
        for runs in pages.runs().chunks(VECTORS) {
            let mut room: [IoVecMut<'_>; VECTORS] = std::array::from_fn(|_| IoVecMut::default());
            for (vec, run) in room.iter_mut().zip(runs) {
                *vec = IoVecMut::from(*run);
            }
            self.source.fill(room.split_at_mut(runs.len()).0)?;
        }
        Ok(())
    }

    /// Reads the next `len` bytes straight into the guest's pages where `writer` is, and the bytes behind them to all of
    /// `behind`, in as few calls as can be. The pages have room for them.
    ///
    /// # Errors
    /// As [`Self::read_exact`]; or the pages have less room, in which case none is read.
    pub fn read_into(
        &mut self,
        writer: &mut PagesWriter<'_>,
        len: usize,
        behind: &mut [u8],
    ) -> Result<(), PayloadError> {
        let room = writer.missing();
        if len > room {
            return Err(PayloadError::NoRoom { len, room });
        }
        self.take(len.saturating_add(behind.len()))?;
        let mut left = len;
        let mut behind = Some(behind).filter(|behind| !behind.is_empty());
        while left > 0 || behind.is_some() {
            let mut room: [IoVecMut<'_>; VECTORS] = std::array::from_fn(|_| IoVecMut::default());
            let mut used = 0;
            for vec in &mut room {
                if let Some(span) = writer.advance(left) {
                    left -= span.len();
                    *vec = IoVecMut::from(span);
                } else if let Some(behind) = behind.take() {
                    *vec = behind.into();
                } else {
                    break;
                }
                used += 1;
            }
            self.source.fill(room.split_at_mut(used).0)?;
        }
        Ok(())
    }

    fn take(&mut self, wanted: usize) -> Result<(), PayloadError> {
        match self.remaining.checked_sub(wanted) {
            Some(remaining) => self.remaining = remaining,
            None => {
                return Err(PayloadError::Ended {
                    len: self.len,
                    missing: wanted - self.remaining,
                });
            }
        }
        Ok(())
    }
}

/// Vectors per call: all runs of a packet of 4 KiB pages.
const VECTORS: usize = 128;

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} of {} bytes left)", self.remaining, self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::geometry::PageSize;
    use crate::memory::{Mapping, RamBlock};
    use crate::pages::PageRuns;
    use crate::wire::BlockName;

    struct Bytes(&'static [u8]);

    impl PayloadSource for Bytes {
        fn fill(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<()> {
            for vec in room {
                let count = vec.copy_from(self.0);
                if count < vec.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.0 = &self.0[count..];
            }
            Ok(())
        }
    }

    #[test]
    fn the_end_is_the_end() {
        let mut source = Bytes(b"abcdef");
        let mut payload = Payload::new(&mut source, 5);
        let mut target = [0; 3];
        payload.read_exact(&mut target).unwrap();
        assert_eq!((&target, payload.remaining()), (b"abc", 2));
        let error = payload.read_exact(&mut target).unwrap_err();
        assert_eq!(
            error.to_string(),
            "payload of 5 bytes ends 1 bytes too early"
        );
        assert_eq!(payload.remaining(), 2);
        payload.read_exact(&mut target[..2]).unwrap();
        assert_eq!(payload.remaining(), 0);
    }

    #[test]
    fn pages_are_read_in_parts() {
        let region = Arc::new(Mapping::anonymous(4 * 4096).unwrap());
        let block = RamBlock::new(BlockName::new("ram").unwrap(), region).unwrap();
        let mut runs = PageRuns::new(PageSize::X86);
        runs.set(&block, &[0x2000, 0]).unwrap();
        let content: Vec<u8> = (0..2 * 4096 + 4)
            .map(|at| u8::try_from(at / 3 % 251).unwrap())
            .collect();
        let bytes: &'static [u8] = content.clone().leak();
        let mut source = Bytes(bytes);
        let mut payload = Payload::new(&mut source, bytes.len());
        let (pages, mut behind) = (runs.pages_mut(), [0; 3]);
        let mut writer = pages.writer();
        payload.read_into(&mut writer, 5000, &mut behind).unwrap();
        assert_eq!(
            (&behind[..], writer.missing()),
            (&content[5000..5003], 3192)
        );
        let error = payload.read_into(&mut writer, 3193, &mut []).unwrap_err();
        assert!(matches!(error, PayloadError::NoRoom { .. }), "{error}");
        let error = payload
            .read_into(&mut writer, 3192, &mut [0; 2])
            .unwrap_err();
        assert!(
            matches!(error, PayloadError::Ended { missing: 1, .. }),
            "{error}"
        );
        payload.read_into(&mut writer, 3192, &mut [0]).unwrap();
        assert_eq!((payload.remaining(), writer.missing()), (0, 0));
        let mut got = vec![0; 8192];
        runs.pages().copy_to(&mut got);
        let want = [&content[..5000], &content[5003..8195]].concat();
        assert!(got == want);
    }

    #[test]
    fn the_rest_needs_room() {
        let mut source = Bytes(b"abcdef");
        let mut payload = Payload::new(&mut source, 5);
        payload.read_exact(&mut [0]).unwrap();
        let error = payload.read_rest(&mut [0; 3]).unwrap_err();
        assert_eq!(error.to_string(), "payload of 5 bytes, wanted at most 3");
        assert_eq!(payload.remaining(), 4);
        assert_eq!(payload.read_rest(&mut [0; 6]).unwrap(), b"bcde");
        assert!(payload.read_rest(&mut []).unwrap().is_empty());
    }
}
