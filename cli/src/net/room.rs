// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether this process has room for connections.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// Whether there is room for one more connection, as far as the last attempt tells.
#[derive(Debug, Default)]
pub(crate) struct Room {
    is_full: bool,
    /// How often it has become full.
    times: u64,
}

impl Room {
    /// How long to wait before the next attempt while there is none.
    pub(crate) const PAUSE: Duration = Duration::from_millis(20);

    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Looks at the result of an attempt. One for which there was no room has got nothing: who wants to connect waits.
    pub(crate) fn look<T>(&mut self, result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if is_no_room(&error) => {
                self.set_full(&error);
                Ok(None)
            }
            result => {
                self.is_full = false;
                result.map(Some)
            }
        }
    }

    fn set_full(&mut self, error: &io::Error) {
        if std::mem::replace(&mut self.is_full, true) {
            return;
        }
        self.times += 1;
        // Whoever knocks without end does not fill the log.
        if self.times.is_power_of_two() {
            log::warn!("connections wait, as there is no room for another: {error}");
        }
    }
}

/// Makes what takes descriptors. While there are none it tries again, unless that is `cancelled`: others count how many
/// they may take by taking them, and give them back at once.
pub(crate) fn patiently<T>(
    cancelled: &dyn Fn() -> bool,
    mut make: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let begin = Instant::now();
    loop {
        match make() {
            Err(error) if is_no_room(&error) && begin.elapsed() < PATIENCE && !cancelled() => {
                thread::sleep(Room::PAUSE);
            }
            result => return result,
        }
    }
}

/// Many times as long as anybody holds what is only counted.
const PATIENCE: Duration = Duration::from_secs(3);

/// Too many files are open, here or in the whole system, or there is no memory for another.
fn is_no_room(error: &io::Error) -> bool {
    let errors = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    errors
        .iter()
        .any(|no_room| error.raw_os_error() == Some(no_room.raw_os_error()))
}
