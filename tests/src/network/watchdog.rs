// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A test that hangs fails.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Ends the process if it is not dropped in time, so that a test that hangs fails and says which.
#[derive(Debug)]
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

impl Watchdog {
    /// Watches over the calling test for a minute.
    ///
    /// # Panics
    /// The system has no thread left.
    pub fn start() -> Self {
        Self::with_limit(Duration::from_secs(60))
    }

    /// Watches over the calling test for `limit`.
    ///
    /// # Panics
    /// The system has no thread left.
    pub fn with_limit(limit: Duration) -> Self {
        let (alive, ended) = mpsc::channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                bark(&test, limit);
            }
        });
        Self { _alive: alive }
    }
}

#[expect(clippy::print_stderr, reason = "the process ends here")]
fn bark(test: &str, limit: Duration) {
    eprintln!("{test} hangs: not done after {limit:?}");
    std::process::abort();
}
