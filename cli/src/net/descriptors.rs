// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How many files and connections this process may have open.

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;

/// Raises the limit as far as the system lets everybody: 255 channels on both sides take more than the 1024 that are
/// usual.
///
/// # Errors
/// Even the hard limit is too low for so many connections at once.
pub(crate) fn allow(connections: usize) -> Result<(), Failure> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::warn!("the limit of open files cannot be raised: {error}");
        }
    }
    let need = need(connections);
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < need => {
            let what =
                format!("{connections} connections need {need} open files, the limit is {limit}");
            let hint = format!(
                "raise the hard limit: ulimit -Hn {need}, or LimitNOFILE={need} of its unit"
            );
            Err(Failure::new(ExitCode::Local, what).hint(hint))
        }
        _ => Ok(()),
    }
}

/// Descriptors that nobody else takes before they are needed.
#[derive(Default)]
pub(crate) struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// As many as `connections` take; `None` if this process may not have so many now, and so many `beside` them.
    pub(crate) fn take(connections: usize, beside: usize) -> Option<Self> {
        let count = 2 * connections + beside;
        let all = (0..count).map(|_| eventfd(0, EventfdFlags::CLOEXEC).ok());
        let mut all: Vec<OwnedFd> = all.collect::<Option<_>>()?;
        all.truncate(2 * connections);
        Some(Self(all))
    }

    /// So many connections are made now.
    pub(crate) fn release(&mut self, connections: usize) {
        let left = self.0.len().saturating_sub(2 * connections);
        self.0.truncate(left);
    }
}

/// What others need who have reserved some and just make their connections.
pub(crate) const BESIDE: usize = 16;

/// Each connection is a socket and a descriptor through which it is interrupted.
fn need(connections: usize) -> u64 {
    (2 * connections + OTHERS) as u64
}

/// Standard streams, the guest's files, the listener, a second handle of the main connection, and what libraries open.
const OTHERS: usize = 48;
