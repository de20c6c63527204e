// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which rung the next packet is made on.

use std::time::Duration;

use super::config::AdaptConfig;
use super::estimate::{Estimate, Taken};
use super::limits::Limits;
use super::mix::{self, Mix, Point, STEPS};
use super::window::{self, Observation, Summary, Window};
use crate::method::{Rung, rungs_up_to};

/// Chooses a rung for each packet of all channels.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    config: AdaptConfig,
    ladder: &'static [Rung],
    channels: usize,
    processors: usize,
    estimate: Estimate,
    limits: Limits,
    window: Window,
    /// How many windows there were.
    windows: u32,
    points: Vec<Point>,
    mix: Mix,
    /// Parts of a packet that the second rung of the mix has to its credit.
    credit: u32,
    /// Time that may be spent on finding out whether memory is still incompressible.
    probing: f64,
    probe: Option<usize>,
    paused: bool,
}

impl Controller {
    /// For so many channels with this ladder on so many processors.
    pub(crate) fn new(
        config: AdaptConfig,
        ladder: &'static [Rung],
        channels: usize,
        processors: usize,
    ) -> Self {
        let ladder = rungs_up_to(ladder, config.max_level);
        let first = ladder.iter().position(|rung| rung.level == 1);
        Self {
            config,
            ladder,
            channels,
            processors,
            estimate: Estimate::new(ladder),
            limits: Limits::new(),
            window: Window::new(ladder.len(), Duration::ZERO),
            windows: 0,
            points: Vec::with_capacity(ladder.len()),
            mix: Mix::only(first.unwrap_or_default()),
            credit: 0,
            probing: 0.0,
            probe: None,
            paused: false,
        }
    }

    /// The rungs that it chooses from.
    pub(crate) fn ladder(&self) -> &'static [Rung] {
        self.ladder
    }

    /// The rung of the next packet.
    pub(crate) fn choose(&mut self) -> usize {
        if let Some(rung) = self.probe.take() {
            return rung;
        }
        self.credit += self.mix.share;
        if self.credit >= STEPS {
            self.credit -= STEPS;
            return self.mix.high;
        }
        self.mix.low
    }

    /// Takes note of a packet that has been sent at `now`, a time since the start.
    pub(crate) fn observe(&mut self, now: Duration, packet: &Observation) {
        self.window.add(packet);
        let (length, enough) = match self.windows {
            0..FIRST_WINDOWS => (FIRST_WINDOW, self.channels.min(window::ENOUGH)),
            _ => (WINDOW, window::enough(self.channels)),
        };
        // What is tried for once has to tell enough by itself.
        let length = match self.limits.looks(STEPS) {
            Some(_) => length * 2,
            None => length,
        };
        if self.window.is_full(now, length, enough) {
            self.close_window(now);
        }
    }

    /// Takes note of time in which the channels got nothing to do, to keep to a bandwidth.
    pub(crate) fn held(&mut self, time: Duration) {
        self.window.hold(time);
    }

    /// The guest has been paused: what is left is to arrive as soon as it can. Strong levels are not for that.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
        self.probe = None;
        self.estimate.points(&mut self.points);
        let quick = rungs_up_to(self.ladder, QUICK_LEVEL).len();
        let rates = self.limits.rates(self.channels, self.processors);
        let points = self.points.get(..quick).unwrap_or_default();
        self.mix = Mix::only(mix::quickest(points, &rates));
    }

    fn close_window(&mut self, now: Duration) {
        let summary = self.window.summary(now, self.channels);
        let looked = self.limits.looks(STEPS);
        self.windows = self.windows.saturating_add(1);
        let bytes = |taken: &[Taken]| taken.iter().map(|taken| taken.guest_bytes).sum::<f64>();
        let taken = bytes(&self.window.fresh);
        if taken > 0.0 {
            self.estimate.learn(&self.window.fresh);
            let point = self.point_of_window(bytes(&self.window.taken));
            if self.windows > STARTING {
                self.limits.learn(&summary, &point);
            }
        }
        if !self.paused && taken > 0.0 && self.windows > STARTING {
            self.decide(&summary, now);
        }
        log::trace!("{now:?}: {summary:?}, {:?}: {:?}", self.limits, self.mix);
        match self.windows > STARTING && looked == self.limits.looks(STEPS) {
            true => self.window.go_on(now),
            false => self.window.restart(now),
        }
    }

    /// What a byte has taken in this window.
    fn point_of_window(&mut self, guest_bytes: f64) -> Point {
        self.estimate.points(&mut self.points);
        let mut sum = Point::default();
        for (point, taken) in self.points.iter().zip(&self.window.taken) {
            sum.receiver += point.receiver * taken.guest_bytes / guest_bytes;
            sum.wire += taken.wire_bytes / guest_bytes;
            sum.cpu += taken.cpu / guest_bytes;
        }
        sum
    }

    fn decide(&mut self, summary: &Summary, now: Duration) {
        let mut rates = self.limits.rates(self.channels, self.processors);
        if let Some(percent) = self.config.cpu_limit {
            rates.processors = rates.processors.min(f64::from(percent.max(1)) / 100.0);
        }
        // Step by step, and not at the very start: a moment in which little comes through is not to be paid for with packets that take long.
        let above = match self.windows {
            0..=FIRST_WINDOWS => self.mix.next_above() - 1,
            _ => self.mix.next_above(),
        };
        let known = self.points.get(..above).unwrap_or(&self.points);
        self.mix = mix::best(known, &rates, self.mix);
        if let Some(share) = self.limits.looks(STEPS) {
            let mix = self.mix.with_raw(share);
            let wire = |mix: Mix| mix.point(&self.points).wire;
            self.limits.offer(wire(mix) / wire(self.mix));
            self.mix = mix;
        }
        let Some(rung) = self.worth_a_probe(&rates) else {
            self.probing = 0.0;
            return;
        };
        let time = now.saturating_sub(self.window.start);
        self.probing += time.as_secs_f64() * PROBING;
        let cost = self.points.get(rung).map_or(0.0, |point| point.cpu);
        let cost = cost * summary.stretch * PROBE_BYTES;
        if self.probing >= cost {
            self.probing = 0.0;
            self.probe = Some(rung);
        }
    }

    /// The rung to try if nothing is compressed, and much would be won if memory were as compressible as usual.
    fn worth_a_probe(&mut self, rates: &mix::Rates) -> Option<usize> {
        let raw = |rung| self.estimate.is_raw(rung);
        if !raw(self.mix.low) || !raw(self.mix.high) {
            return None;
        }
        let now = self.mix.point(&self.points).time(rates);
        self.estimate.hopeful_points(&mut self.points);
        let hope = mix::best(&self.points, rates, self.mix).point(&self.points);
        self.estimate.points(&mut self.points);
        let first = self.ladder.iter().position(|rung| !rung.is_raw());
        first.filter(|_| hope.time(rates) < now * WORTH_IT)
    }

    /// The mix that is used now.
    #[cfg(test)]
    pub(super) fn mix(&self) -> Mix {
        self.mix
    }
}

/// What is settled for: long enough to see several packets of each channel.
const WINDOW: Duration = Duration::from_millis(40);
/// The first windows are short: a short migration is not to be over before anything is decided.
const FIRST_WINDOW: Duration = Duration::from_millis(8);
const FIRST_WINDOWS: u32 = 5;
/// A destination that has just got its memory does not show yet how fast it or the link is.
const STARTING: u32 = 1;
/// The highest level for the time that the guest stands still.
const QUICK_LEVEL: u8 = 1;
/// The share of the time that is spent on finding out.
const PROBING: f64 = 0.02;
/// Bytes of a packet.
const PROBE_BYTES: f64 = 524_288.0;
/// What has to be won for it, in relation to the time that memory takes as it is.
const WORTH_IT: f64 = 0.97;
