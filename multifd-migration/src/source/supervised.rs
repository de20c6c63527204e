// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The guest gets back what the migration took from it.

use multifd_core::Error;

use super::SourceHost;
use crate::RunState;
use crate::host_error::refused;

/// A host, and what has to be undone on it when the migration ends.
pub(super) struct Supervised<'h> {
    pub(super) host: &'h mut dyn SourceHost,
    logging: bool,
    /// It ran before it was paused.
    paused: bool,
    run_state: RunState,
    throttled: bool,
}

impl<'h> Supervised<'h> {
    pub(super) fn new(host: &'h mut dyn SourceHost) -> Self {
        Self {
            host,
            logging: false,
            paused: false,
            run_state: RunState::default(),
            throttled: false,
        }
    }

    /// Whether the guest ran before it was paused.
    pub(super) fn run_state(&self) -> RunState {
        self.run_state
    }

    pub(super) fn start_log(&mut self) -> Result<(), Error> {
        self.host.dirty_log().start().map_err(refused)?;
        self.logging = true;
        Ok(())
    }

    /// Stops the guest. Returns whether it ran.
    pub(super) fn pause(&mut self) -> Result<RunState, Error> {
        self.run_state = self.host.run_state();
        self.paused = self.run_state == RunState::Running;
        self.host.pause().map_err(refused)?;
        Ok(self.run_state)
    }

    pub(super) fn throttle(&mut self, percent: u8) {
        self.throttled = true;
        self.host.throttle(percent);
    }

    /// Stops what was started. If the guest `runs_here`, it runs as before: at once, as to stop a log may
    /// take much longer than a downtime.
    pub(super) fn end(&mut self, runs_here: bool) {
        if std::mem::take(&mut self.throttled) {
            self.host.throttle(0);
        }
        if std::mem::take(&mut self.paused) && runs_here {
            self.host.resume();
        }
        if std::mem::take(&mut self.logging) {
            self.host.dirty_log().stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use multifd_core::memory::BlockIndex;

    use super::*;
    use crate::HostError;
    use crate::dirty::{DirtyBitmap, DirtyLog};
    use crate::stream::DeviceSection;

    /// Notes what it is asked for.
    #[derive(Default)]
    struct Noting(Vec<&'static str>);

    impl SourceHost for Noting {
        fn dirty_log(&mut self) -> &mut dyn DirtyLog {
            self
        }

        fn pause(&mut self) -> Result<(), HostError> {
            self.0.push("pause");
            Ok(())
        }

        fn resume(&mut self) {
            self.0.push("resume");
        }

        fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
            Ok(Vec::new())
        }

        fn throttle(&mut self, percent: u8) {
            self.0
                .push(if percent == 0 { "let go" } else { "throttle" });
        }
    }

    impl DirtyLog for Noting {
        fn start(&mut self) -> Result<(), HostError> {
            self.0.push("start");
            Ok(())
        }

        fn harvest(&mut self, _: BlockIndex, _: &mut DirtyBitmap) -> Result<(), HostError> {
            Ok(())
        }

        fn stop(&mut self) {
            self.0.push("stop");
        }
    }

    #[test]
    fn a_guest_that_stays_runs_before_its_log_is_stopped() {
        for (runs_here, end) in [
            (true, &["let go", "resume", "stop"][..]),
            (false, &["let go", "stop"]),
        ] {
            let mut host = Noting::default();
            let mut supervised = Supervised::new(&mut host);
            supervised.start_log().unwrap();
            supervised.throttle(30);
            supervised.pause().unwrap();
            supervised.end(runs_here);
            supervised.end(runs_here);
            assert_eq!(host.0, [&["start", "throttle", "pause"], end].concat());
        }
    }
}
