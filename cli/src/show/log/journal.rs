// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! systemd's journal at the other end of stderr.

use std::os::fd::AsFd as _;

use log::Level;

/// Whether stderr goes to the journal, as its variable says, rather than to what a shell has put there since.
pub(super) fn is_stderr() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = std::io::stderr();
    let file = rustix::fs::fstat(stderr.as_fd());
    file.is_ok_and(|file| stream.to_str() == Some(&format!("{}:{}", file.st_dev, file.st_ino)))
}

/// What stands before each line: the priority of syslog(3) between `<` and `>`.
pub(super) fn priority(level: Level) -> &'static str {
    match level {
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}
