// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The best mix of two rungs.

/// What a byte of guest memory takes on one rung.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// Bytes on the wire.
    pub(super) wire: f64,
    /// Seconds of CPU time.
    pub(super) cpu: f64,
    /// Work of the receiver, in units of its own.
    pub(super) receiver: f64,
}

/// How fast things go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rates {
    /// Bytes on the wire per second.
    pub(super) link: f64,
    /// Seconds of CPU time per second: how many processors work.
    pub(super) processors: f64,
    /// The receiver's units per second.
    pub(super) receiver: f64,
}

/// Two rungs, and how often the second is taken: [`STEPS`] is always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mix {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) share: u32,
}

/// Parts that a mix is made of.
pub(super) const STEPS: u32 = 32;

impl Mix {
    /// One rung and no other.
    pub(super) fn only(rung: usize) -> Self {
        Self {
            low: rung,
            high: rung,
            share: 0,
        }
    }

    /// How many rungs there are up to the one above these.
    pub(super) fn next_above(self) -> usize {
        self.high + 2
    }

    /// Another one, of which so many parts more are the lowest rung.
    pub(super) fn with_raw(self, share: u32) -> Self {
        let (high, of_high) = match self.low {
            0 => (self.high, self.share),
            low if self.share * 2 < STEPS => (low, STEPS),
            _ => (self.high, STEPS),
        };
        Self {
            low: 0,
            high,
            share: of_high.saturating_sub(share),
        }
    }

    /// What a byte takes.
    pub(super) fn point(&self, points: &[Point]) -> Point {
        let of = |rung: usize| points.get(rung).copied().unwrap_or_default();
        of(self.low).towards(of(self.high), f64::from(self.share) / f64::from(STEPS))
    }
}

impl Point {
    fn towards(self, other: Self, share: f64) -> Self {
        let between = |from: f64, to: f64| from + (to - from) * share;
        Self {
            wire: between(self.wire, other.wire),
            cpu: between(self.cpu, other.cpu),
            receiver: between(self.receiver, other.receiver),
        }
    }

    /// Seconds per byte of guest memory: link, processors and receiver work at the same time.
    pub(super) fn time(&self, rates: &Rates) -> f64 {
        let (link, processors) = (self.wire / rates.link, self.cpu / rates.processors);
        link.max(processors).max(self.receiver / rates.receiver)
    }

    /// The same where nothing is left to do at the same time: the last packets.
    pub(super) fn latency(&self, rates: &Rates) -> f64 {
        self.wire / rates.link + self.cpu / rates.processors
    }
}

/// The mix that takes the least time; among those that take nearly as little the one that takes the least CPU time.
/// `now` stays unless another is better by more than that.
pub(super) fn best(points: &[Point], rates: &Rates, now: Mix) -> Mix {
    let least = all(points)
        .map(|(_, point)| point.time(rates))
        .fold(f64::INFINITY, f64::min);
    let enough = least * (1.0 + EQUAL);
    let good = all(points).filter(|(_, point)| point.time(rates) <= enough);
    let Some((mix, point)) = good.min_by(|(_, one), (_, other)| one.cpu.total_cmp(&other.cpu))
    else {
        return now;
    };
    let stays = now.point(points);
    if stays.time(rates) <= enough && stays.cpu <= point.cpu * (1.0 + CHEAPER) {
        return now;
    }
    mix
}

/// The rung among the first ones that takes the least time when nothing is left to do beside.
pub(super) fn quickest(points: &[Point], rates: &Rates) -> usize {
    let each = points.iter().enumerate();
    let quickest =
        each.min_by(|(_, one), (_, other)| one.latency(rates).total_cmp(&other.latency(rates)));
    quickest.map_or(0, |(rung, _)| rung)
}

fn all(points: &[Point]) -> impl Iterator<Item = (Mix, Point)> + '_ {
    let pairs = (0..points.len()).flat_map(|high| (0..=high).map(move |low| (low, high)));
    pairs.flat_map(move |(low, high)| {
        let most = if low == high { 0 } else { STEPS - 1 };
        (0..=most)
            .filter(move |share| low == high || *share > 0)
            .map(move |share| {
                let mix = Mix { low, high, share };
                (mix, mix.point(points))
            })
    })
}

/// Times that differ by less than this share are the same.
const EQUAL: f64 = 0.015;
/// CPU time that differs by less than this share is no reason to change.
const CHEAPER: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    /// Raw, a fast and a strong rung, for one processor.
    const POINTS: [Point; 3] = [
        Point {
            wire: 1.0,
            cpu: 0.1e-9,
            receiver: 0.2,
        },
        Point {
            wire: 0.3,
            cpu: 2e-9,
            receiver: 1.0,
        },
        Point {
            wire: 0.25,
            cpu: 20e-9,
            receiver: 1.0,
        },
    ];

    fn rates(link: f64) -> Rates {
        Rates {
            link,
            processors: 1.0,
            receiver: f64::INFINITY,
        }
    }

    #[test]
    fn link_and_processor_are_done_at_the_same_time() {
        for link in [5e6, 30e6, 125e6, 300e6, 1e9, 3e9] {
            let rates = rates(link);
            let mix = best(&POINTS, &rates, Mix::only(0));
            let time = mix.point(&POINTS).time(&rates);
            for rung in 0..3 {
                let only = Mix::only(rung).point(&POINTS).time(&rates);
                assert!(
                    time <= only * 1.016,
                    "{link}: {mix:?} is slower than {rung}"
                );
            }
        }
        // Strong on a slow link, as it is on a fast one, and a mix between.
        assert_eq!(best(&POINTS, &rates(5e6), Mix::only(0)).high, 2);
        assert_eq!(best(&POINTS, &rates(20e9), Mix::only(2)), Mix::only(0));
        let mix = best(&POINTS, &rates(1e9), Mix::only(0));
        assert_eq!((mix.low, mix.high), (0, 1));
        assert!(mix.share > 0);
    }

    #[test]
    fn what_saves_nothing_costs_nothing() {
        let points = POINTS.map(|point| Point { wire: 1.0, ..point });
        assert_eq!(best(&points, &rates(5e6), Mix::only(2)), Mix::only(0));
    }

    #[test]
    fn a_slow_receiver_is_spared() {
        let slow = Rates {
            receiver: 1e9,
            ..rates(1.5e9)
        };
        let mix = best(&POINTS, &slow, Mix::only(0));
        assert!(mix.point(&POINTS).receiver < 0.7, "{mix:?}");
    }

    #[test]
    fn little_differences_change_nothing() {
        let now = best(&POINTS, &rates(1e9), Mix::only(0));
        for link in [0.99e9, 1.005e9, 1.01e9] {
            assert_eq!(best(&POINTS, &rates(link), now), now, "{link}");
        }
    }

    #[test]
    fn the_last_packets_wait_for_both() {
        assert_eq!(quickest(&POINTS, &rates(1e9)), 0);
        assert_eq!(quickest(&POINTS, &rates(100e6)), 1);
    }
}
