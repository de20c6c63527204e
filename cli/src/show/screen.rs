// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The lines at the bottom of a terminal that change, and whatever else is written there.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::MultiProgress;
use rustix::termios::tcgetwinsize;

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

/// How many letters a line on stdout has room for: what the environment says, or the terminal.
pub(crate) fn columns() -> usize {
    let given = std::env::var("COLUMNS").ok();
    let given = given.and_then(|text| text.parse().ok());
    let asked = || {
        tcgetwinsize(io::stdout())
            .ok()
            .map(|size| size.ws_col.into())
    };
    let columns: Option<usize> = given.or_else(asked);
    columns.filter(|columns| *columns > 0).unwrap_or(usize::MAX)
}

fn lock() -> MutexGuard<'static, Option<MultiProgress>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}
