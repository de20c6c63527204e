// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long connections wait for something that can come.

use std::time::{Duration, Instant};

/// Counts the time in which nobody can be accepted: what is waited for may be among those who stand outside.
#[derive(Debug, Default)]
pub(super) struct Clock {
    stood: Duration,
    /// Since when it stands still.
    still: Option<Instant>,
}

impl Clock {
    /// Stands still from now on, or goes on.
    pub(super) fn set_still(&mut self, is_still: bool) {
        if is_still {
            self.still.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.still.take() {
            self.stood += since.elapsed();
        }
    }

    pub(super) fn is_still(&self) -> bool {
        self.still.is_some()
    }

    /// For how long it has stood still until `now`.
    pub(super) fn stood(&self, now: Instant) -> Duration {
        let since = self.still.unwrap_or(now);
        self.stood + now.saturating_duration_since(since)
    }
}
