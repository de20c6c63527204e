// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How one direction of a connection behaves.

use std::io;

/// How one direction of a connection behaves. By default as a good socket does: 64 KiB of buffer,
/// calls take what fits.
#[derive(Clone, Debug)]
pub struct Link {
    pub(super) capacity: usize,
    pub(super) sends: Pieces,
    pub(super) receives: Pieces,
    pub(super) cut: Option<(u64, Ending)>,
    pub(super) hold: Option<u64>,
    pub(super) send_error: Option<(u64, io::ErrorKind)>,
    pub(super) recv_error: Option<(u64, io::ErrorKind)>,
    pub(super) is_recorded: bool,
}

/// How many bytes a call takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// As many as fit.
    Whole,
    /// At most so many.
    Of(usize),
    /// Any number, from a seed; small ones more often than large ones.
    Random(u64),
}

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The receiver finds an orderly end of the stream, the sender a closed connection.
    Eof,
    /// Both find the connection reset.
    Reset,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            capacity: 64 * 1024,
            sends: Pieces::Whole,
            receives: Pieces::Whole,
            cut: None,
            hold: None,
            send_error: None,
            recv_error: None,
            is_recorded: false,
        }
    }
}

impl Link {
    /// A direction that buffers at most `capacity` bytes, at least one.
    #[must_use]
    pub fn capacity(self, capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { capacity, ..self }
    }

    /// Every call that sends takes so many bytes.
    #[must_use]
    pub fn sends(self, sends: Pieces) -> Self {
        Self { sends, ..self }
    }

    /// Every call that receives takes so many bytes.
    #[must_use]
    pub fn receives(self, receives: Pieces) -> Self {
        Self { receives, ..self }
    }

    /// The connection ends after `count` bytes of this direction; these still arrive.
    #[must_use]
    pub fn cut_after(self, count: u64, ending: Ending) -> Self {
        let cut = Some((count, ending));
        Self { cut, ..self }
    }

    /// Bytes after the first `count` stay on their way until [`super::Tap::release`].
    #[must_use]
    pub fn hold_after(self, count: u64) -> Self {
        let hold = Some(count);
        Self { hold, ..self }
    }

    /// The call that would send the byte after the first `count` fails.
    #[must_use]
    pub fn send_error(self, count: u64, error: io::ErrorKind) -> Self {
        let send_error = Some((count, error));
        Self { send_error, ..self }
    }

    /// The call that would receive the byte after the first `count` fails.
    #[must_use]
    pub fn recv_error(self, count: u64, error: io::ErrorKind) -> Self {
        let recv_error = Some((count, error));
        Self { recv_error, ..self }
    }

    /// Keeps every byte for [`super::Tap::bytes`].
    #[must_use]
    pub fn recorded(self) -> Self {
        Self {
            is_recorded: true,
            ..self
        }
    }
}
