// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What each rung costs and saves.

use super::mix::Point;
use crate::method::Rung;

/// What the packets of one rung took, in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Taken {
    pub(super) guest_bytes: f64,
    pub(super) wire_bytes: f64,
    pub(super) cpu: f64,
}

/// What is known of the rungs.
///
/// Memory that becomes more compressible does so for all rungs: what one shows is believed of all, by the relations that
/// the ladder expects, corrected by what has been seen side by side.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    rungs: Vec<Known>,
    /// What is saved, in relation to what the ladder expects.
    gain: f64,
    /// Seconds that a unit of the ladder's costs stands for: of pages as they are, and of all that compresses.
    raw_cost: f64,
    cost: f64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    raw: bool,
    gain: Shape,
    cost: Shape,
}

/// A value in relation to those of other rungs.
#[derive(Clone, Copy, Debug)]
struct Shape {
    expected: f64,
    seen: f64,
}

impl Estimate {
    pub(super) fn new(ladder: &[Rung]) -> Self {
        let known = |rung: &Rung| Known {
            raw: rung.is_raw(),
            gain: Shape::new(rung.gain.into()),
            cost: Shape::new(rung.cost.into()),
        };
        Self {
            rungs: ladder.iter().map(known).collect(),
            gain: 1.0,
            raw_cost: NANOSECOND,
            cost: NANOSECOND,
        }
    }

    /// What a byte takes on each rung, to `points`.
    pub(super) fn points(&self, points: &mut Vec<Point>) {
        self.points_with(self.gain, points);
    }

    /// The same, if memory were as compressible as the ladder expects.
    pub(super) fn hopeful_points(&self, points: &mut Vec<Point>) {
        self.points_with(self.gain.max(1.0), points);
    }

    /// Whether pages as they are are all that these rungs make.
    pub(super) fn is_raw(&self, rung: usize) -> bool {
        self.rungs.get(rung).is_none_or(|rung| rung.raw)
    }

    /// Takes note of a window.
    pub(super) fn learn(&mut self, taken: &[Taken]) {
        self.learn_cost(taken);
        self.learn_gain(taken);
    }

    fn points_with(&self, gain: f64, points: &mut Vec<Point>) {
        points.clear();
        points.extend(self.rungs.iter().map(|rung| {
            let unit = if rung.raw { self.raw_cost } else { self.cost };
            Point {
                wire: 1.0 - (gain * rung.gain.seen).clamp(0.0, MOST_GAIN),
                cpu: unit * rung.cost.seen,
                receiver: if rung.raw { RAW_RECEIVER } else { 1.0 },
            }
        }));
    }

    fn learn_cost(&mut self, taken: &[Taken]) {
        let (mut raw, mut rest) = (Sums::default(), Sums::default());
        for (rung, taken) in self.rungs.iter().zip(taken) {
            let sums = if rung.raw { &mut raw } else { &mut rest };
            sums.add(taken.guest_bytes, &rung.cost, taken.cpu);
        }
        raw.follow(&mut self.raw_cost);
        rest.follow(&mut self.cost);
        // In relation to the others of this window, not to what is followed step by step.
        let unit = rest.ratio();
        for (rung, taken) in self.rungs.iter_mut().zip(taken) {
            let seen = taken.cpu / (taken.guest_bytes * unit);
            let told = if rung.raw { 0.0 } else { rest.told(taken) };
            rung.cost.correct(seen, taken, (told, COST_WRONG_BY));
        }
    }

    fn learn_gain(&mut self, taken: &[Taken]) {
        let mut sums = Sums::default();
        let compressing = || self.rungs.iter().zip(taken).filter(|(rung, _)| !rung.raw);
        for (rung, taken) in compressing() {
            let saved = taken.guest_bytes - taken.wire_bytes;
            sums.add(taken.guest_bytes, &rung.gain, saved.max(0.0));
        }
        sums.follow(&mut self.gain);
        let gain = sums.ratio();
        for (rung, taken) in self.rungs.iter_mut().zip(taken) {
            let seen = (1.0 - taken.wire_bytes / taken.guest_bytes) / gain;
            // Of memory that is hardly compressible the relations cannot be told.
            let told = match rung.raw || gain < LITTLE_GAIN {
                true => 0.0,
                false => sums.told(taken),
            };
            rung.gain.correct(seen, taken, (told, GAIN_WRONG_BY));
        }
    }
}

impl Shape {
    fn new(expected: f64) -> Self {
        Self {
            expected,
            seen: expected,
        }
    }

    /// Believes what was seen a bit more, or forgets a bit of it.
    fn correct(&mut self, seen: f64, taken: &Taken, (told, wrong_by): (f64, f64)) {
        if told > 0.0 && seen.is_finite() {
            let seen = seen.clamp(self.expected / wrong_by, self.expected * wrong_by);
            self.seen += (seen - self.seen) * LEARN * told;
        } else if taken.guest_bytes == 0.0 {
            self.seen += (self.expected - self.seen) * FORGET;
        }
    }
}

/// What was expected of some rungs, and what came.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    expected: f64,
    got: f64,
    guest_bytes: f64,
}

impl Sums {
    fn add(&mut self, guest_bytes: f64, shape: &Shape, got: f64) {
        let expected = guest_bytes * shape.seen;
        if expected > 0.0 {
            self.expected += expected;
            self.got += got;
            self.guest_bytes += guest_bytes;
        }
    }

    /// How much one of the rungs tells, beside the others: packets differ, so that a few tell little. 1 at most.
    fn told(&self, taken: &Taken) -> f64 {
        let others = self.guest_bytes - taken.guest_bytes;
        (taken.guest_bytes.min(others) / TELLING).clamp(0.0, 1.0)
    }

    fn ratio(&self) -> f64 {
        self.got / self.expected
    }

    fn follow(&self, value: &mut f64) {
        if self.expected > 0.0 {
            *value += (self.ratio() - *value) * FOLLOW;
        }
    }
}

const NANOSECOND: f64 = 1e-9;
/// How much of the way to what a window has shown is gone at once.
const FOLLOW: f64 = 0.5;
/// The same for the relations between rungs.
const LEARN: f64 = 0.15;
/// How much of what is known of a rung's relations is forgotten in a window without it.
const FORGET: f64 = 0.01;
/// Bytes of guest memory, made into packets on a rung and on others, that tell how the two compare.
const TELLING: f64 = 16.0 * 1024.0 * 1024.0;
/// Expectations are wrong by no more than these factors. Processors differ by more than what levels make of the same
/// memory does.
const COST_WRONG_BY: f64 = 2.5;
const GAIN_WRONG_BY: f64 = 1.2;
/// Below this share of what is expected, memory is hardly compressible.
const LITTLE_GAIN: f64 = 0.1;
/// What is saved at most.
const MOST_GAIN: f64 = 0.995;
/// What it takes the receiver to put a page where it belongs, in relation to decompressing it.
const RAW_RECEIVER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;

    const LADDER: [Rung; 3] = [
        Rung::raw(0.2),
        Rung::new("1", 1, 2.0, 0.6),
        Rung::new("9", 9, 20.0, 0.8),
    ];

    fn taken(wire: f64, cpu: f64) -> Taken {
        Taken {
            guest_bytes: 1e6,
            wire_bytes: wire * 1e6,
            cpu: cpu * 1e6,
        }
    }

    fn points(estimate: &Estimate) -> Vec<Point> {
        let mut points = Vec::new();
        estimate.points(&mut points);
        points
    }

    #[test]
    fn one_rung_tells_of_all() {
        let mut estimate = Estimate::new(&LADDER);
        for _ in 0..20 {
            estimate.learn(&[Taken::default(), taken(0.7, 1e-9), Taken::default()]);
        }
        let [raw, fast, strong] = points(&estimate)[..] else {
            panic!("three rungs")
        };
        assert_eq!(raw.wire, 1.0);
        assert!((fast.wire - 0.7).abs() < 0.01 && (strong.wire - 0.6).abs() < 0.01);
        assert!((fast.cpu - 1e-9).abs() < 1e-11 && (strong.cpu - 10e-9).abs() < 1e-10);
    }

    #[test]
    fn what_is_seen_side_by_side_counts() {
        let mut estimate = Estimate::new(&LADDER);
        for _ in 0..600 {
            estimate.learn(&[Taken::default(), taken(0.5, 2e-9), taken(0.45, 40e-9)]);
        }
        let [_, fast, strong] = points(&estimate)[..] else {
            panic!("three rungs")
        };
        assert!((fast.wire - 0.5).abs() < 0.02, "{fast:?}");
        assert!((strong.wire - 0.45).abs() < 0.02, "{strong:?}");
        assert!((strong.cpu / fast.cpu - 20.0).abs() < 2.0);
    }

    #[test]
    fn incompressible_memory_is_found_out_and_forgotten() {
        let mut estimate = Estimate::new(&LADDER);
        for _ in 0..8 {
            estimate.learn(&[Taken::default(), taken(1.0, 1e-9), Taken::default()]);
        }
        assert!(points(&estimate).iter().all(|point| point.wire > 0.99));
        let mut hopeful = Vec::new();
        estimate.hopeful_points(&mut hopeful);
        assert!(hopeful[1].wire < 0.41);
        for _ in 0..8 {
            estimate.learn(&[Taken::default(), taken(0.4, 1e-9), Taken::default()]);
        }
        assert!((points(&estimate)[1].wire - 0.4).abs() < 0.01);
    }
}
