//! How many pages may come between two barriers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Fault};

/// Counts the pages that have come since the last barrier, on all channels together.
///
/// Between two barriers a source sends each page at most once. One that sends more would have this side
/// clear the same pages again and again, for a few bytes each.
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
    /// There are more of them than the guest has.
    pub(crate) fn add(&self, pages: usize) -> Result<(), Error> {
        let pages = pages as u64;
        let since = self.since.fetch_add(pages, Ordering::Relaxed);
        if since.saturating_add(pages) <= self.all {
            return Ok(());
        }
        let what = format!(
            "more pages between two SYNC than the {} of the guest, of which each may come once",
            self.all
        );
        Err(Error::new(Fault::Peer, what))
    }

    /// All channels are at a barrier.
    pub(crate) fn restart(&self) {
        self.since.store(0, Ordering::Relaxed);
    }
}
