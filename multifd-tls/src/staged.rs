// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Received bytes on their way into rustls.

use std::io::{self, Read};

use multifd_core::memory::IoVecMut;
use multifd_core::transport::Transport;

/// What one call has received: rustls takes less at a time, and nobody holds its lock while the network is waited for.
pub(crate) struct Staged {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Staged {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; ROOM],
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Receives more, once all has been taken; returns whether there was any.
    pub(crate) fn fill(&mut self, transport: &mut dyn Transport) -> io::Result<bool> {
        self.start = 0;
        self.end = 0;
        self.end = transport.recv(&mut [IoVecMut::from(&mut self.bytes[..])])?;
        Ok(self.end > 0)
    }
}

impl Read for Staged {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut left = self.bytes.get(self.start..self.end).unwrap_or_default();
        let count = left.read(room)?;
        self.start += count;
        Ok(count)
    }
}

/// Four records of the greatest length.
const ROOM: usize = 64 << 10;
