//! The guest gets back what the migration took from it.

use multifd_core::Error;

use super::{SourceHost, refused};

/// A host, and what has to be undone on it when the migration ends.
pub(super) struct Supervised<'h> {
    pub(super) host: &'h mut dyn SourceHost,
    logging: bool,
    paused: bool,
    throttled: bool,
}

impl<'h> Supervised<'h> {
    pub(super) fn new(host: &'h mut dyn SourceHost) -> Self {
        Self {
            host,
            logging: false,
            paused: false,
            throttled: false,
        }
    }

    pub(super) fn start_log(&mut self) -> Result<(), Error> {
        self.host.dirty_log().start().map_err(refused)?;
        self.logging = true;
        Ok(())
    }

    pub(super) fn pause(&mut self) -> Result<(), Error> {
        self.paused = true;
        self.host.pause().map_err(refused)
    }

    pub(super) fn throttle(&mut self, percent: u8) {
        self.throttled = true;
        self.host.throttle(percent);
    }

    /// Stops what was started. If the guest `runs_here`, it runs as before.
    pub(super) fn end(&mut self, runs_here: bool) {
        if std::mem::take(&mut self.throttled) {
            self.host.throttle(0);
        }
        if std::mem::take(&mut self.logging) {
            self.host.dirty_log().stop();
        }
        if std::mem::take(&mut self.paused) && runs_here {
            self.host.resume();
        }
    }
}
