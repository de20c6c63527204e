// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What happened in a short time.

use std::time::Duration;

use super::estimate::Taken;

/// What one packet was, and what its channel has done since the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observation {
    pub(crate) rung: usize,
    /// Bytes of the normal pages.
    pub(crate) guest_bytes: usize,
    /// Bytes on the wire.
    pub(crate) wire_bytes: usize,
    /// CPU time, with what was done before to find out which pages are zero.
    pub(crate) cpu: Duration,
    /// Time, without waiting.
    pub(crate) busy: Duration,
    /// Time spent waiting for the connection.
    pub(crate) blocked: Duration,
    /// Time spent waiting for pages.
    pub(crate) idle: Duration,
}

/// What all channels have done since some moment.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) start: Duration,
    /// Seconds before, as far as they still count.
    before: f64,
    /// By rung, of this window alone.
    pub(super) fresh: Vec<Taken>,
    /// By rung, with what was before.
    pub(super) taken: Vec<Taken>,
    /// Channel time spent working, and waiting.
    busy: f64,
    blocked: f64,
    idle: f64,
    /// Time in which the channels got nothing to do, to keep to a bandwidth.
    held: f64,
    /// Bytes on the wire that are no pages.
    packets: usize,
}

/// What is made out of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    /// Bytes per second.
    pub(super) wire_rate: f64,
    /// Bytes of guest memory per second.
    pub(super) guest_rate: f64,
    /// The share of its time that a channel waits because no more can be sent.
    pub(super) slack: f64,
    /// The share of its time that a channel has nothing to do for another reason.
    pub(super) idle: f64,
    /// Time that working takes, in relation to CPU time.
    pub(super) stretch: f64,
}

impl Window {
    pub(super) fn new(rungs: usize, start: Duration) -> Self {
        Self {
            start,
            before: 0.0,
            fresh: vec![Taken::default(); rungs],
            taken: vec![Taken::default(); rungs],
            busy: 0.0,
            blocked: 0.0,
            idle: 0.0,
            held: 0.0,
            packets: 0,
        }
    }

    /// Starts anew, at `now`.
    pub(super) fn restart(&mut self, now: Duration) {
        self.fade(now, 0.0);
    }

    /// Starts the next window. What was in this one counts on, but less and less: connections take what is sent in bursts,
    /// and a few packets tell little.
    pub(super) fn go_on(&mut self, now: Duration) {
        let time = now.saturating_sub(self.start).as_secs_f64();
        let memory = time * (TELLING / self.packets.max(1) as f64).max(1.0);
        self.fade(now, (-time / memory.clamp(1e-6, LONGEST_MEMORY)).exp());
    }

    fn fade(&mut self, now: Duration, keep: f64) {
        self.before = keep * (self.before + now.saturating_sub(self.start).as_secs_f64());
        self.fresh.fill(Taken::default());
        for taken in &mut self.taken {
            *taken = Taken {
                guest_bytes: taken.guest_bytes * keep,
                wire_bytes: taken.wire_bytes * keep,
                cpu: taken.cpu * keep,
            };
        }
        for sum in [
            &mut self.busy,
            &mut self.blocked,
            &mut self.idle,
            &mut self.held,
        ] {
            *sum *= keep;
        }
        (self.start, self.packets) = (now, 0);
    }

    pub(super) fn add(&mut self, packet: &Observation) {
        for rungs in [&mut self.fresh, &mut self.taken] {
            if let Some(taken) = rungs.get_mut(packet.rung) {
                taken.guest_bytes += packet.guest_bytes as f64;
                taken.wire_bytes += packet.wire_bytes as f64;
                taken.cpu += packet.cpu.as_secs_f64();
            }
        }
        self.busy += packet.busy.as_secs_f64();
        self.blocked += packet.blocked.as_secs_f64();
        self.idle += packet.idle.as_secs_f64();
        self.packets += 1;
    }

    pub(super) fn hold(&mut self, time: Duration) {
        self.held += time.as_secs_f64();
    }

    /// Whether the window is long enough at `now` to tell something, which `enough` packets do.
    pub(super) fn is_full(&self, now: Duration, length: Duration, enough: usize) -> bool {
        let time = now.saturating_sub(self.start);
        let few = self.packets < enough;
        time >= if few { length * 4 } else { length }
    }

    pub(super) fn summary(&self, now: Duration, channels: usize) -> Summary {
        let time = self.before + now.saturating_sub(self.start).as_secs_f64().max(1e-6);
        let all = time * channels.max(1) as f64;
        let sum = |value: fn(&Taken) -> f64| self.taken.iter().map(value).sum::<f64>();
        let (cpu, held) = (sum(|taken| taken.cpu), (self.held / time).min(1.0));
        let idle = (self.idle / all).min(1.0);
        let paced = held.min(idle);
        Summary {
            wire_rate: sum(|taken| taken.wire_bytes) / time,
            guest_rate: sum(|taken| taken.guest_bytes) / time,
            slack: (self.blocked / all + paced).min(1.0),
            idle: idle - paced,
            stretch: if cpu > 0.0 {
                (self.busy / cpu).clamp(1.0, 64.0)
            } else {
                1.0
            },
        }
    }
}

/// How many packets tell something of so many channels.
pub(super) fn enough(channels: usize) -> usize {
    channels.saturating_mul(2).clamp(FEW, ENOUGH)
}

/// So many packets tell enough to forget what was before them.
const TELLING: f64 = 64.0;
/// Seconds that count.
const LONGEST_MEMORY: f64 = 0.3;
/// Two packets of each channel are enough, but no fewer than this.
const FEW: usize = 8;
/// So many packets are enough of any number of channels.
pub(super) const ENOUGH: usize = 32;
