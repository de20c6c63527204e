// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How many pages may come between two barriers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Fault};

/// Counts the pages that have come since the last barrier, on all channels together.
///
/// Between two barriers a source sends each page at most once, but for a few that QEMU 7.2 sends twice. One that
/// sends more than twice the guest would have this side clear the same pages again and again, for a few bytes each.
#[derive(Debug)]
pub(crate) struct RoundPages {
    /// Of the guest.
    all: u64,
    since: AtomicU64,
}

impl RoundPages {
    /// For a guest of so many pages.
    pub(crate) fn new(all: u64) -> Self {
        Self {
            all,
            since: AtomicU64::new(0),
        }
    }

    /// Counts pages that have come.
    ///
    /// # Errors
    /// There are more of them than the guest has, or the last barrier is over.
    pub(crate) fn add(&self, pages: usize) -> Result<(), Error> {
        let pages = pages as u64;
        let since = self.since.fetch_add(pages, Ordering::Relaxed);
        if since >= NO_MORE {
            return Err(behind_the_end());
        }
        if since.saturating_add(pages) <= self.all.saturating_mul(MOST_TIMES) {
            return Ok(());
        }
        let what = format!(
            "more pages between two SYNC than {MOST_TIMES} times the {} of the guest",
            self.all
        );
        Err(Error::new(Fault::Peer, what))
    }

    /// All channels are at a barrier.
    pub(crate) fn restart(&self) {
        self.since.fetch_and(NO_MORE, Ordering::Relaxed);
    }

    /// The last barrier is over: no more pages may come.
    ///
    /// # Errors
    /// Some have come behind it.
    pub(crate) fn end(&self) -> Result<(), Error> {
        match self.since.fetch_or(NO_MORE, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(behind_the_end()),
        }
    }
}

fn behind_the_end() -> Error {
    let what = "pages behind the last SYNC, wanted none: the main channel has ended memory";
    Error::new(Fault::Peer, what)
}

/// So many times may all pages come between two barriers.
const MOST_TIMES: u64 = 2;
/// More pages than the longest blocks have: the last barrier is over.
const NO_MORE: u64 = 1 << 63;
