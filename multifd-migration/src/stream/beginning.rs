// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the first bytes of a main stream say, while they stay to be read by somebody else.

use std::io;
use std::sync::Arc;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};

use super::{Configuration, Reader, StreamError};

impl Configuration {
    /// The configuration at the start of `bytes`, which are the first of a main stream; `None` if they end before
    /// its end can be seen.
    ///
    /// For whoever looks at a connection before it is given to a migration, as with
    /// [`SocketTransport::peek`](multifd_core::transport::SocketTransport::peek). A configuration of 2 KiB is longer
    /// than any.
    ///
    /// # Errors
    /// The bytes are no stream's.
    pub fn at_start_of(bytes: &[u8]) -> Result<Option<Self>, StreamError> {
        let mut reader = Reader::new(Box::new(Nothing), bytes);
        match Self::read(&mut reader) {
            Ok(configuration) => Ok(Some(configuration)),
            Err(StreamError::Ended { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What comes behind the bytes.
struct Nothing;

impl Transport for Nothing {
    fn send(&mut self, _bytes: &[IoVec<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn recv(&mut self, _room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        Ok(0)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Self)
    }
}

impl Interrupt for Nothing {
    fn interrupt(&self) {}
}

#[cfg(test)]
mod tests {
    use multifd_core::wire::Uuid;

    use super::*;

    const STREAM: &[u8] =
        b"QEVM\0\0\0\x03\x07\0\0\0\x02pc\x05\x12configuration/uuid\0\0\0\x01aaaabbbbccccdddd\x01";

    #[test]
    fn it_is_known_with_the_byte_behind_it() {
        for len in 0..STREAM.len() {
            let start = &STREAM[..len];
            assert_eq!(Configuration::at_start_of(start).unwrap(), None, "{len}");
        }
        let configuration = Configuration::at_start_of(STREAM).unwrap().unwrap();
        assert_eq!(configuration.machine, "pc");
        assert_eq!(configuration.uuid, Some(Uuid(*b"aaaabbbbccccdddd")));
    }

    #[test]
    fn other_bytes_are_no_stream() {
        assert!(Configuration::at_start_of(b"GET / HTTP/1.1\r\n").is_err());
    }
}
