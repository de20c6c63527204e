// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whoever has started this process as a service: systemd, or nobody.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// What a service manager is told, if there is one.
pub(crate) struct Supervisor {
    /// How often it wants to hear that this process lives.
    watchdog: Option<Duration>,
    heard: Instant,
    status: String,
}

impl Supervisor {
    /// The one that the environment names.
    pub(crate) fn new() -> Self {
        Self {
            // Twice as often as it has to be.
            watchdog: sd_notify::watchdog_enabled().map(|limit| limit / 2),
            heard: Instant::now(),
            status: String::new(),
        }
    }

    /// The service can be used.
    pub(crate) fn ready(&mut self) {
        tell(&[NotifyState::Ready]);
    }

    /// The service reads again what may have changed, until it is [ready](Self::ready) again.
    pub(crate) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("the service manager is not told of the reload: {error}"),
        }
    }

    /// The service is ending, which may take so long.
    pub(crate) fn stopping(&mut self, limit: Duration) {
        let micros = u32::try_from((limit + MARGIN).as_micros()).unwrap_or(u32::MAX);
        tell(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(micros),
        ]);
    }

    /// What the service does now: in `systemctl status`.
    pub(crate) fn status(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Says that this process lives, if that is wanted now; answers when to say it again.
    pub(crate) fn alive(&mut self) -> Option<Duration> {
        let pause = self.watchdog?;
        if self.heard.elapsed() >= pause {
            tell(&[NotifyState::Watchdog]);
            self.heard = Instant::now();
        }
        Some(pause.saturating_sub(self.heard.elapsed()))
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("the service manager cannot be told: {error}");
    }
}

/// Cancelling takes a moment, too.
const MARGIN: Duration = Duration::from_secs(15);
