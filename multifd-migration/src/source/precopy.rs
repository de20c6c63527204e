// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Rounds while the guest runs, until the rest can be sent within the downtime.

use std::time::Duration;

use multifd_core::{Error, Fault};

use super::dirty_memory::DirtyMemory;
use super::rounds::RoundEnd;
use super::supervised::Supervised;
use super::throttle::Throttle;
use super::{OverTime, Source};
use crate::stream::Command;

impl Source {
    /// Rounds, until the rest can be sent within the downtime.
    pub(super) fn precopy(
        &mut self,
        host: &mut Supervised<'_>,
        dirty: &mut DirtyMemory,
    ) -> Result<(), Error> {
        let mut throttle = self.config.auto_converge.map(Throttle::new);
        loop {
            let end = self.send_round(host.host, dirty, false)?;
            let mut fetched = self.fetch(host, dirty)?;
            if end == RoundEnd::Complete && !self.is_worth_a_round() && self.is_time() {
                self.drain()?;
                let meanwhile = self.fetch(host, dirty)?;
                if self.is_time() {
                    return Ok(());
                }
                fetched.add(meanwhile);
            }
            if let Some(limit) = self.config.passed_limit(self.start) {
                return self.over_time(limit, self.handle.remaining_bytes());
            }
            let throttled = throttle
                .as_mut()
                .and_then(|throttle| throttle.passed(fetched.dirtied, fetched.sent));
            if let Some(percent) = throttled {
                host.throttle(percent);
                self.handle.update(|state| state.throttle = percent);
            }
        }
    }

    /// Whether the guest would stand still for no longer than it may.
    fn is_time(&self) -> bool {
        let (remaining, tuning) = (self.handle.remaining_bytes(), self.handle.tuning());
        self.convergence.is_time(remaining, &tuning)
    }

    /// Whether to go on although the guest would stand still for no longer than it may.
    fn is_worth_a_round(&mut self) -> bool {
        let (remaining, tuning) = (self.handle.remaining_bytes(), self.handle.tuning());
        self.convergence.is_worth_a_round(remaining, &tuning)
    }

    /// Waits, while the guest runs, until the destination has taken what is queued here and what is
    /// in buffers between the hosts: that is not the downtime's to wait for.
    ///
    /// The answer to a PING behind a barrier comes once all channels have met there.
    pub(super) fn drain(&mut self) -> Result<(), Error> {
        self.sender.wait_sent()?;
        let Some(return_path) = &self.return_path else {
            return Ok(());
        };
        self.pings += 1;
        return_path.forget_pongs();
        self.stream.command(Command::Ping(self.pings))?;
        self.stream.flush()?;
        // One that has never answered gets no guest, but all the time that there is.
        let limits = &self.config.limits;
        let limit = match return_path.has_answered() {
            true => limits.pong,
            false => limits.confirm,
        };
        if !return_path.wait_pong(self.pings, limit)? {
            self.check_destination()?;
            log::debug!(
                "PING {} was not answered: switching over without it",
                self.pings
            );
        }
        Ok(())
    }

    fn over_time(&mut self, limit: Duration, remaining: u64) -> Result<(), Error> {
        let limit = limit.as_secs_f32();
        match self.config.over_time {
            OverTime::SwitchOver => {
                log::warn!("switching over after {limit} s with {remaining} bytes left to send");
                Ok(())
            }
            OverTime::Cancel => {
                let what = format!(
                    "the guest writes to its memory faster than it can be sent: \
                     {remaining} bytes are left after the time limit of {limit} s"
                );
                Err(Error::new(Fault::Caller, what))
            }
        }
    }
}
