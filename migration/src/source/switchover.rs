//! From the guest's pause to the destination's confirmation.

use std::time::{Duration, Instant};

use multifd_core::{Error, Fault};

use super::dirty_memory::DirtyMemory;
use super::status::Stage;
use super::supervised::Supervised;
use super::{DownTime, Source, SourceEvent, Status};
use crate::handover;
use crate::host_error::refused;
use crate::stream::Command;

impl Source {
    /// Pauses the guest, sends what is left of it, and waits until the destination has it. Answers what
    /// the down time was spent on.
    pub(super) fn switch_over(
        &mut self,
        host: &mut Supervised<'_>,
        dirty: &mut DirtyMemory,
    ) -> Result<DownTime, Error> {
        let mut clock = Clock::new();
        let mut down_time = DownTime::default();
        host.pause()?;
        down_time.pause = clock.lap();
        if self.config.pause_before_switchover {
            self.enter(host, Status::PreSwitchover)?;
            self.handle.wait_proceed()?;
            down_time.wait = clock.lap();
        }
        self.enter(host, Status::Device)?;
        self.fetch(host, dirty)?;
        down_time.fetch = clock.lap();

        self.send_device_packets()?;
        self.send_round(host.host, dirty, true)?;
        self.sender.wait_sent()?;
        down_time.memory = clock.lap();

        let devices = host.host.save_devices().map_err(refused)?;
        self.handle.commit()?;
        if let Some(return_path) = &self.return_path {
            return_path.expect_confirmation();
        }
        match self.config.tail.take() {
            Some(tail) => self.stream.opaque_tail(&tail)?,
            None => self.stream.tail(&devices)?,
        }
        self.stream.flush()?;
        down_time.devices = clock.lap();

        self.hand_over()?;
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

    /// Waits for the destination's confirmation, and gives the guest up.
    fn hand_over(&mut self) -> Result<(), Error> {
        let Some(return_path) = &self.return_path else {
            return Ok(());
        };
        let limit = self.config.confirm_time_limit;
        let Some(confirmed) = return_path.wait(limit)? else {
            if !return_path.hands_over() {
                self.stage = Stage::Unanswered;
            }
            return Err(unanswered("has everything but has not confirmed it", limit));
        };
        if confirmed.hands_over {
            self.stage = Stage::GivenUp;
            self.stream.command(Command::Ping(handover::GO))?;
            self.stream.flush()?;
            if return_path.wait(limit)?.is_none() {
                return Err(unanswered(
                    "was told to run the guest but has not answered",
                    limit,
                ));
            }
        }
        Ok(())
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

fn unanswered(what: &str, limit: Duration) -> Error {
    let seconds = limit.as_secs_f32();
    let what = format!("the destination {what} within {seconds} s");
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
