// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reading a stream.

use crate::libdeflate::{Decoded, Failure, Inflater};

/// Decompresses for one channel.
#[derive(Debug)]
pub struct Decoder {
    inflater: Inflater,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            inflater: Inflater::new(),
        }
    }

    /// Decompresses `stream`, which must end where its final block does, into `out`, which it must
    /// fill.
    ///
    /// # Errors
    /// `stream` is anything else. What `out` then holds is not defined.
    pub fn decode_exact(&mut self, stream: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
        let wanted = out.len();
        let Decoded { read, written } = self.decode(stream, out)?;
        if written < wanted {
            return Err(DecodeError::Short { written, wanted });
        }
        if read < stream.len() {
            let left = stream.len() - read;
            return Err(DecodeError::LeftOver { read, left });
        }
        Ok(())
    }

    /// Decompresses the stream at the start of `bytes` to the front of `out`.
    ///
    /// # Errors
    /// There is no stream at the start of `bytes`, or its content does not fit. What `out` then
    /// holds is not defined.
    pub fn decode(&mut self, bytes: &[u8], out: &mut [u8]) -> Result<Decoded, DecodeError> {
        let wanted = out.len();
        self.inflater
            .inflate(bytes, out)
            .map_err(|failure| match failure {
                Failure::BadData => DecodeError::BadData,
                Failure::NoRoom => DecodeError::TooLong { wanted },
            })
    }
}

/// What a peer sent is not the stream that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Against the rules of deflate, or cut off.
    #[error("bad deflate data, or deflate data without an end")]
    BadData,
    /// More content than there may be.
    #[error("deflate data of more than the {wanted} bytes that are wanted")]
    TooLong {
        /// Bytes that there may be.
        wanted: usize,
    },
    /// Less content than there must be.
    #[error("deflate data of {written} bytes, wanted {wanted}")]
    Short {
        /// Bytes that there are.
        written: usize,
        /// Bytes that there must be.
        wanted: usize,
    },
    /// Something comes after the stream's end.
    #[error("deflate data that ends after {read} bytes, and {left} more byte(s)")]
    LeftOver {
        /// Bytes of the stream.
        read: usize,
        /// Bytes after it.
        left: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoder, Level};

    fn page() -> Vec<u8> {
        b"a page of text, "
            .iter()
            .copied()
            .cycle()
            .take(4096)
            .collect()
    }

    fn stream() -> Vec<u8> {
        let page = page();
        let mut out = vec![0; page.len()];
        let length = Encoder::new(None, Level::FASTEST, page.len())
            .encode(&page, &mut out)
            .unwrap();
        out.truncate(length);
        out
    }

    #[test]
    fn a_stream_ends_where_it_must() {
        let (page, stream) = (page(), stream());
        let mut decoder = Decoder::new();
        let mut out = vec![0; page.len() + 1];
        let mut exact = |stream: &[u8], len: usize| decoder.decode_exact(stream, &mut out[..len]);
        assert_eq!(exact(&stream, 4096), Ok(()));
        assert_eq!(
            exact(&stream, 4095),
            Err(DecodeError::TooLong { wanted: 4095 })
        );
        assert_eq!(
            exact(&stream, 4097),
            Err(DecodeError::Short {
                written: 4096,
                wanted: 4097
            })
        );
        let longer = [&stream[..], b"more"].concat();
        assert_eq!(
            exact(&longer, 4096),
            Err(DecodeError::LeftOver {
                read: stream.len(),
                left: 4
            })
        );
        for cut in 0..stream.len() {
            assert!(exact(&stream[..cut], 4096).is_err(), "{cut}");
        }
        let decoded = Decoded {
            read: stream.len(),
            written: 4096,
        };
        assert_eq!(decoder.decode(&longer, &mut out), Ok(decoded));
        assert!(out[..4096] == page);
    }
}
