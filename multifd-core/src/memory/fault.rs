// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Pages that the system cannot provide.
//!
//! Guest memory may be a file: in a file system of memory that is full, or a file that somebody has made
//! shorter. Whoever touches such a page is killed (`SIGBUS`), so the system is asked for pages before they
//! are touched.

use std::fmt;
use std::io;

/// What is to be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is read.
    Read,
    /// It is written to, and perhaps read.
    Write,
}

/// A page of guest memory that is mapped, and yet cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    access: Access,
    reason: Reason,
}

/// Why, as far as the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// `EFAULT`: to touch it would be a `SIGBUS`.
    NotThere,
    /// `ENOMEM`.
    OutOfMemory,
    /// `EHWPOISON`.
    Broken,
}

impl PageFault {
    /// A page that the system could not touch.
    pub(crate) fn not_there(access: Access) -> Self {
        Self {
            access,
            reason: Reason::NotThere,
        }
    }

    /// What an answer of `madvise(2)` means: `None` if the system has no such call, or not for this kind of
    /// mapping.
    pub(super) fn of(error: &io::Error, access: Access) -> Option<Self> {
        let reason = match error.raw_os_error() {
            Some(libc::EFAULT) => Reason::NotThere,
            Some(libc::ENOMEM) => Reason::OutOfMemory,
            Some(libc::EHWPOISON) => Reason::Broken,
            _ => return None,
        };
        Some(Self { access, reason })
    }

    /// What was to be done.
    pub fn access(&self) -> Access {
        self.access
    }
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.access {
            Access::Read => "the guest's memory cannot be read",
            Access::Write => "no room for the guest's memory",
        })?;
        f.write_str(match (self.reason, self.access) {
            (Reason::NotThere, Access::Read) => {
                ": its file has been made shorter, or what it is on is full or has failed"
            }
            (Reason::NotThere, Access::Write) => {
                ": what its file is on is full or has failed, or the file has been made shorter"
            }
            (Reason::OutOfMemory, _) => ": the system is out of memory",
            (Reason::Broken, _) => ": a page is broken",
        })
    }
}

impl std::error::Error for PageFault {}
