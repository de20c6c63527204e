// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What surrounds a migration: its transport, what the host offers, how far it is.

use std::fmt;

use crate::values::choice::Compression;

/// The kind of address that a migration goes to or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A tcp, unix or vsock socket, which can be connected more than once.
    Socket,
    /// An open file descriptor (`fd:`).
    Fd,
    /// The input or output of a command (`exec:`).
    Exec,
    /// A file (`file:`).
    File {
        /// Whether a second descriptor, opened for direct I/O, can be had: true for a path, and for an
        /// fd set that holds one.
        direct_descriptor: bool,
    },
    /// RDMA (`rdma:`).
    Rdma,
}

impl Transport {
    /// Whether several channels can be opened: on a socket, and on a file when every page has a place
    /// of its own.
    #[must_use]
    pub const fn is_multi_channel(self, mapped_ram: bool) -> bool {
        match self {
            Self::Socket => true,
            Self::File { .. } => mapped_ram,
            Self::Fd | Self::Exec | Self::Rdma => false,
        }
    }

    /// Whether writes can go to any offset.
    #[must_use]
    pub const fn is_seekable(self) -> bool {
        matches!(self, Self::File { .. })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Socket => "socket",
            Self::Fd => "fd",
            Self::Exec => "exec",
            Self::File { .. } => "file",
            Self::Rdma => "rdma",
        })
    }
}

/// What this host, this build and this connection can do.
///
/// The default can do everything, so that a check with it judges the settings alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The methods that are built in and registered.
    pub compression: Vec<Compression>,
    /// Files can be opened with `O_DIRECT`.
    pub direct_io: bool,
    /// The sockets can send with `MSG_ZEROCOPY`: Linux, and not for unix sockets.
    pub zero_copy: bool,
    /// The process may use userfaultfd.
    pub userfaultfd: bool,
    /// The hypervisor tracks dirty pages in a ring.
    pub dirty_ring: bool,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            compression: Compression::ALL.to_vec(),
            direct_io: true,
            zero_copy: true,
            userfaultfd: true,
            dirty_ring: true,
        }
    }
}

/// How far a migration is when settings change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Phase {
    /// Nothing has begun.
    #[default]
    Idle,
    /// The destination listens for the source.
    Listening,
    /// A migration is running.
    Running,
}
