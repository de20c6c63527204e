// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The controller of a migration, for all of its threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::config::AdaptConfig;
use super::controller::Controller;
use super::window::Observation;
use crate::method::Rung;

/// What all channels of a sender ask which rung is next. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Steering {
    start: Instant,
    controller: Arc<Mutex<Controller>>,
    ladder: &'static [Rung],
}

/// One channel's part of it.
#[derive(Debug)]
pub(crate) struct Pilot {
    steering: Steering,
    /// When the last packet had been sent, since the start.
    at: Duration,
    /// What the clocks were then.
    last: Clocks,
    /// Time spent waiting for a bandwidth since then.
    held: Duration,
    rung: usize,
}

/// What a channel's clocks have come to, each since some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    pub(crate) cpu: Duration,
    /// Waiting for the connection.
    pub(crate) blocked: Duration,
    /// Waiting for pages.
    pub(crate) idle: Duration,
}

impl Steering {
    /// `None` if there is nothing to choose from.
    pub(crate) fn new(
        config: AdaptConfig,
        ladder: &'static [Rung],
        channels: usize,
    ) -> Option<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let controller = Controller::new(config, ladder, channels, processors);
        let ladder = controller.ladder();
        (ladder.len() > 1).then(|| Self {
            start: Instant::now(),
            controller: Arc::new(Mutex::new(controller)),
            ladder,
        })
    }

    /// The rungs that are chosen from.
    pub(crate) fn ladder(&self) -> &'static [Rung] {
        self.ladder
    }

    /// The channels got nothing to do for so long, to keep to a bandwidth.
    pub(crate) fn held(&self, time: Duration) {
        self.controller.lock().held(time);
    }

    /// The guest has been paused.
    pub(crate) fn pause(&self) {
        self.controller.lock().pause();
    }

    /// The part of a channel whose thread has taken so much CPU time to be set up.
    pub(crate) fn pilot(&self, cpu: Duration) -> Pilot {
        Pilot {
            steering: self.clone(),
            at: self.start.elapsed(),
            last: Clocks {
                cpu,
                ..Clocks::default()
            },
            held: Duration::ZERO,
            rung: 0,
        }
    }
}

impl Pilot {
    /// The rung of the next packet.
    pub(crate) fn choose(&mut self) -> usize {
        self.rung = self.steering.controller.lock().choose();
        self.rung
    }

    /// The packet has been sent: so many bytes of pages as so many on the wire.
    pub(crate) fn sent(&mut self, guest_bytes: usize, wire_bytes: usize, clocks: Clocks) {
        let mut controller = self.steering.controller.lock();
        let now = self.steering.start.elapsed();
        let held = std::mem::take(&mut self.held);
        let blocked = held + clocks.blocked.saturating_sub(self.last.blocked);
        let idle = clocks.idle.saturating_sub(self.last.idle);
        let time = now.saturating_sub(self.at);
        let packet = Observation {
            rung: self.rung,
            guest_bytes,
            wire_bytes,
            cpu: clocks.cpu.saturating_sub(self.last.cpu),
            busy: time.saturating_sub(blocked + idle),
            blocked,
            idle,
        };
        controller.observe(now, &packet);
        (self.at, self.last) = (now, clocks);
    }

    /// The channel has waited for so long by itself, to keep to a bandwidth.
    pub(crate) fn held(&mut self, time: Duration) {
        self.held += time;
    }

    /// The rung that was chosen last.
    pub(crate) fn rung(&self) -> usize {
        self.rung
    }
}
