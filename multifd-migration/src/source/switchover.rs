// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From the guest's pause to the destination's confirmation.

use std::time::{Duration, Instant};

use multifd_core::{Error, Fault};

use super::dirty_memory::DirtyMemory;
use super::return_path::{Answer, ReturnPath, Word};
use super::status::Stage;
use super::supervised::Supervised;
use super::{DownTime, Source, SourceEvent, Status};
use crate::handover::{self, Work};
use crate::host_error::refused;
use crate::stream::{Command, DeviceSection};

impl Source {
    /// Pauses the guest, sends what is left of it, and waits until the destination has it. Returns what
    /// the downtime was spent on.
    pub(super) fn switch_over(
        &mut self,
        host: &mut Supervised<'_>,
        dirty: &mut DirtyMemory,
    ) -> Result<DownTime, Error> {
        let mut clock = Clock::new();
        let mut down_time = DownTime::default();
        self.meet_destination()?;
        let run_state = host.pause()?;
        down_time.pause = clock.lap();
        self.sender.guest_paused();
        if self.config.pause_before_switchover {
            self.enter(host, Status::PreSwitchover)?;
            self.handle.wait_proceed()?;
            down_time.wait = clock.lap();
        }
        self.enter(host, Status::Device)?;
        let mut devices = host.host.save_devices().map_err(refused)?;
        devices.extend(run_state.section());
        let saved = clock.lap();
        // Behind the devices, which may have written to memory while they were saved.
        self.fetch(host, dirty)?;
        down_time.fetch = clock.lap();

        let sent = self.config.check_pause.then(|| dirty.clone());
        self.send_device_packets()?;
        self.send_round(host.host, dirty, true)?;
        self.sender.wait_sent()?;
        self.end_round();
        if let Some(sent) = sent {
            self.check_still(host.host, dirty, &sent)?;
        }
        down_time.memory = clock.lap();

        self.send_tail(&devices)?;
        down_time.devices = saved + clock.lap();

        self.hand_over(host)?;
        down_time.destination = clock.lap();
        let main_bytes = self.stream.writer_mut().offset();
        self.handle.set_main(main_bytes, self.main_zero_pages);
        self.handle
            .update(|state| state.down_time = Some(down_time));
        Ok(down_time)
    }

    /// The device state that goes over the channels, behind the command that allows it. A destination
    /// before QEMU 10.0 knows no such command, so it is sent only where it is needed.
    fn send_device_packets(&mut self) -> Result<(), Error> {
        if self.config.device_packets.is_empty() {
            return Ok(());
        }
        self.stream.command(Command::SwitchoverStart)?;
        self.stream.flush()?;
        for packet in std::mem::take(&mut self.config.device_packets) {
            self.sender.device_state(packet)?;
        }
        Ok(())
    }

    /// Sends what is behind RAM: from here on the destination may have everything.
    fn send_tail(&mut self, devices: &[DeviceSection]) -> Result<(), Error> {
        if let Some(return_path) = &self.return_path {
            // One that has gone since the pause gets no guest.
            return_path.check()?;
            return_path.expect_confirmation();
        }
        if !self.hands_over() {
            self.handle.commit()?;
            self.stage = Stage::Sent;
        }
        match self.config.tail.take() {
            Some(tail) => self.stream.opaque_tail(&tail)?,
            None => self.stream.tail(devices)?,
        }
        Ok(self.stream.flush()?)
    }

    /// Waits for a destination that may not have come to answering yet: there was no time for it before.
    fn meet_destination(&mut self) -> Result<(), Error> {
        let return_path = self.return_path.as_ref();
        if return_path.is_some_and(|return_path| !return_path.has_answered()) {
            self.drain()?;
        }
        self.check_destination()
    }

    /// A destination that is not there, or that has never said a word, gets no guest.
    pub(super) fn check_destination(&self) -> Result<(), Error> {
        let Some(return_path) = &self.return_path else {
            return Ok(());
        };
        return_path.check()?;
        if return_path.has_answered() {
            return Ok(());
        }
        let limit = self.config.limits.confirm.as_secs_f32();
        let what = format!(
            "the destination has not answered a single PING within {limit} s: it is not a multifd destination, or \
             it does not work"
        );
        Err(Error::new(Fault::Connection, what))
    }

    /// Whether the destination runs the guest only when it is told to.
    fn hands_over(&self) -> bool {
        let return_path = self.return_path.as_ref();
        return_path.is_some_and(ReturnPath::hands_over)
    }

    /// Waits for the destination's confirmation, and gives the guest up.
    fn hand_over(&mut self, host: &mut Supervised<'_>) -> Result<(), Error> {
        let Some(return_path) = &self.return_path else {
            return Ok(());
        };
        let confirmed =
            self.wait_answer(return_path, host, "has everything but has not confirmed it")?;
        if confirmed.hands_over {
            self.handle.commit()?;
            self.stage = Stage::GivenUp;
            self.stream.command(Command::Ping(handover::GO))?;
            self.stream.flush()?;
            self.wait_answer(
                return_path,
                host,
                "was told to run the guest but has not answered",
            )?;
        }
        Ok(())
    }

    /// Waits for the destination's answer, as long as it works for as long as that may take.
    fn wait_answer(
        &self,
        return_path: &ReturnPath,
        host: &mut Supervised<'_>,
        without: &str,
    ) -> Result<Answer, Error> {
        let limits = &self.config.limits;
        let start = Instant::now();
        let longest = limits.confirm.max(limits.work);
        let mut last = None;
        loop {
            let silent = Instant::now() + limits.confirm;
            let deadline = silent.min(start + longest);
            match return_path.wait(deadline)? {
                Some(Word::Answer(answer)) => return Ok(answer),
                Some(Word::Works(work)) => {
                    if last.replace(work) != Some(work) {
                        self.handle.update(|state| state.destination = Some(work));
                        host.host.event(&SourceEvent::DestinationWorks(work));
                    }
                }
                None => {
                    // The limit that was over; of one that has fallen silent how long it has taken in all.
                    let time = match last {
                        None => limits.confirm,
                        Some(_) => start.elapsed().min(longest),
                    };
                    return Err(unanswered(without, time, last));
                }
            }
        }
    }

    /// Changes the status and tells the host.
    pub(super) fn enter(&self, host: &mut Supervised<'_>, status: Status) -> Result<(), Error> {
        let mut cancelled = false;
        self.handle.update(|state| match state.status {
            Status::Cancelling => cancelled = true,
            _ => state.status = status,
        });
        if cancelled {
            return Err(Error::aborted());
        }
        host.host.event(&SourceEvent::Status(status));
        Ok(())
    }
}

fn unanswered(what: &str, time: Duration, work: Option<Work>) -> Error {
    let seconds = (time.as_secs_f32() * 10.0).round() / 10.0;
    let last = work.map_or_else(String::new, |work| {
        format!(", and was {work} when it last spoke")
    });
    let what = format!("the destination {what} within {seconds} s{last}");
    Error::new(Fault::Connection, what)
}

/// Measures one thing after the other.
struct Clock {
    last: Instant,
}

impl Clock {
    fn new() -> Self {
        Self {
            last: Instant::now(),
        }
    }

    /// The time since the last lap.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.last, now))
    }
}
