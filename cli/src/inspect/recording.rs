// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The bytes of a connection, from a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Interrupt, Transport};

/// A connection on which a file's bytes come, and then its end. Nothing can be sent.
pub(super) struct Recording {
    file: File,
    buffer: Vec<u8>,
}

impl Recording {
    pub(super) fn new(file: File) -> Self {
        Self {
            file,
            buffer: vec![0; 64 * 1024],
        }
    }
}

impl Transport for Recording {
    fn send(&mut self, _bytes: &[IoVec<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn recv(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<usize> {
        let Some(first) = room.iter_mut().find(|vec| !vec.is_empty()) else {
            return Ok(0);
        };
        let wanted = first.len().min(self.buffer.len());
        let buffer = self.buffer.get_mut(..wanted).unwrap_or_default();
        let count = self.file.read(buffer)?;
        Ok(first.copy_from(buffer.get(..count).unwrap_or_default()))
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        Arc::new(Never)
    }
}

/// Reading a file is never waited for.
struct Never;

impl Interrupt for Never {
    fn interrupt(&self) {}
}
