// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a source would make of a method that chooses its level for each packet: the best mix of two ways.

use super::choice::{self, Candidate};
use super::cost::{Codec, PAGE, Sides};
use super::model::{Guest, Hosts};
use super::subject::Measured;

/// The best mix of the method's levels and of pages as they are, with its best number of channels; `None` if no level
/// was measured.
pub(super) fn candidate(
    measured: &Measured,
    method: &str,
    hosts: &Hosts,
    guest: &Guest,
    most: usize,
) -> Option<Candidate> {
    let levels = measured.codecs.iter();
    let levels = levels.filter(|codec| codec.method == method && codec.level.is_some());
    let mixes = mixes(&levels.collect::<Vec<_>>());
    let candidates = mixes
        .iter()
        .map(|mix| choice::candidate(measured, mix, hosts, guest, most));
    let best = candidates.reduce(|best, next| if is_better(&next, &best) { next } else { best });
    best.map(|best| Candidate {
        adapts: true,
        ..best
    })
}

/// Those that keep to the downtime come first, then the fastest; of equals the one that costs less.
fn is_better(one: &Candidate, other: &Candidate) -> bool {
    let (one, other) = (&one.prediction, &other.prediction);
    if one.converges != other.converges {
        return one.converges;
    }
    let times = one.total_time / other.total_time;
    times < 1.0 / (1.0 + EQUAL) || (times < 1.0 + EQUAL && one.cpu.sum() < other.cpu.sum())
}

/// All mixes of two ways, in steps.
fn mixes(levels: &[&Codec]) -> Vec<Codec> {
    let Some(first) = levels.first() else {
        return Vec::new();
    };
    let raw = Codec {
        payload: PAGE,
        cpu: Sides::default(),
        elapsed: Sides::default(),
        ..(*first).clone()
    };
    let ways: Vec<&Codec> = std::iter::once(&raw)
        .chain(levels.iter().copied())
        .collect();
    let mut mixes = Vec::new();
    for (at, one) in ways.iter().enumerate() {
        for other in ways.iter().skip(at + 1) {
            let shares = (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS));
            mixes.extend(shares.map(|share| mix(one, other, share)));
        }
    }
    mixes
}

/// So many of the packets are the other's.
fn mix(one: &Codec, other: &Codec, share: f64) -> Codec {
    let between = |one: f64, other: f64| one * (1.0 - share) + other * share;
    let sides = |one: Sides, other: Sides| Sides {
        send: between(one.send, other.send),
        recv: between(one.recv, other.recv),
    };
    Codec {
        level: None,
        payload: between(one.payload, other.payload),
        cpu: sides(one.cpu, other.cpu),
        elapsed: sides(one.elapsed, other.elapsed),
        ..other.clone()
    }
}

/// As fine as the mix of a source is worth to know.
const STEPS: u8 = 16;
/// As the source has it: times that differ by less are equal.
const EQUAL: f64 = 1.0 / 60.0;

#[cfg(test)]
mod tests {
    use super::super::cost::Engine;
    use super::super::model::Pages;
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    fn measured() -> Measured {
        let engine = Engine {
            wire_byte: Sides::default(),
            data_page: Sides::default(),
            zero_page: Sides::default(),
            setup: 0.0,
            switchover: 0.01,
        };
        let level = |level, payload: f64, speed: f64| {
            let cpu = Sides {
                send: PAGE / (speed * MIB),
                recv: 0.0,
            };
            Codec {
                method: "zstd".into(),
                level: Some(level),
                implementation: "software".into(),
                is_hardware: false,
                payload: PAGE * payload,
                cpu,
                elapsed: cpu,
                channels: 2,
            }
        };
        Measured {
            one_channel: engine,
            channels: engine,
            codecs: vec![level(1, 0.5, 400.0), level(9, 0.4, 40.0)],
        }
    }

    fn best(bandwidth: f64) -> Candidate {
        let hosts = Hosts {
            cores: Sides {
                send: 2.0,
                recv: 2.0,
            },
            shared: false,
            bandwidth: Some(bandwidth * MIB),
        };
        let guest = Guest {
            pages: Pages {
                data: 1000.0 * MIB / PAGE,
                zero: 0.0,
            },
            dirty_rate: 0.0,
            downtime_limit: 0.3,
        };
        candidate(&measured(), "zstd", &hosts, &guest, 2).unwrap()
    }

    /// A link that is faster than level 1 takes some packets as they are; a slow one gets some of level 9.
    #[test]
    fn a_mix_is_faster_than_its_parts() {
        for (bandwidth, at_least, at_most) in [
            // Everything as it is takes 1 s, all of level 1 1.25 s on two cores.
            (1000.0, 0.7, 0.8),
            // Level 1 waits for the link for 5 s, level 9 for the cores for 12.5 s.
            (100.0, 4.4, 4.95),
            // The link alone.
            (10.0, 40.0, 41.5),
        ] {
            let best = best(bandwidth);
            let time = best.prediction.total_time;
            assert!(best.adapts && best.name() == "zstd adaptive");
            assert!(time > at_least && time < at_most, "{bandwidth}: {time} s");
        }
    }

    #[test]
    fn a_method_without_levels_does_not_adapt() {
        let hosts = Hosts {
            cores: Sides::default(),
            shared: false,
            bandwidth: None,
        };
        let guest = Guest {
            pages: Pages {
                data: 1.0,
                zero: 0.0,
            },
            dirty_rate: 0.0,
            downtime_limit: 0.3,
        };
        assert_eq!(candidate(&measured(), "none", &hosts, &guest, 2), None);
    }
}
