// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The lines at the bottom of a terminal that change, and whatever else is written there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::MultiProgress;

/// The lines that are there now: of the whole process, as the terminal is.
static LINES: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Lines at the bottom of the terminal behind stderr, until it is dropped.
pub(crate) struct Screen(MultiProgress);

impl Screen {
    pub(crate) fn new() -> Self {
        let lines = MultiProgress::new();
        *lock() = Some(lines.clone());
        Self(lines)
    }

    pub(crate) fn lines(&self) -> &MultiProgress {
        &self.0
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        *lock() = None;
        // What could not be cleared stays.
        let _ = self.0.clear();
    }
}

/// Writes something to stdout or stderr: such lines are not there meanwhile.
pub(crate) fn beside<T>(write: impl FnOnce() -> T) -> T {
    let lines = lock().clone();
    match lines {
        Some(lines) => lines.suspend(write),
        None => write(),
    }
}

fn lock() -> MutexGuard<'static, Option<MultiProgress>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}
