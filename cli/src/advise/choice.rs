// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What to take: the best number of channels for each method, and the best method of all.

use serde::Serialize;

use super::cost::{Codec, PAGE};
use super::model::{self, Bound, Guest, Hosts, Prediction};
use super::rules::{Rule, rule};
use super::subject::Measured;
use crate::doctor::Devices;

/// A method with its best number of channels, and what is predicted for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Candidate {
    pub(crate) method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<u8>,
    /// Whether the level is chosen for each packet: `--adapt`.
    #[serde(rename = "adapt", skip_serializing_if = "std::ops::Not::not")]
    pub(crate) adapts: bool,
    pub(crate) implementation: String,
    /// Whether that was a device.
    #[serde(skip)]
    pub(crate) is_hardware: bool,
    pub(crate) channels: usize,
    /// Bytes of guest memory per byte on the wire.
    pub(crate) ratio: f64,
    #[serde(flatten)]
    pub(crate) prediction: Prediction,
}

/// What to set, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Choice {
    pub(crate) method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<u8>,
    pub(crate) channels: usize,
    pub(crate) why: Vec<String>,
}

/// The best number of channels for a method, up to `most`.
pub(crate) fn candidate(
    measured: &Measured,
    codec: &Codec,
    hosts: &Hosts,
    guest: &Guest,
    most: usize,
) -> Candidate {
    let with = |channels| {
        let engine = measured.engine(channels);
        let prediction = model::predict(engine, codec, hosts, guest, channels);
        Candidate {
            method: codec.method.clone(),
            level: codec.level,
            adapts: false,
            implementation: codec.implementation.clone(),
            is_hardware: codec.is_hardware,
            channels,
            ratio: (guest.pages.data + guest.pages.zero) * PAGE
                / model::predict(engine, codec, hosts, &still(guest), channels).transferred,
            prediction,
        }
    };
    let fewest = FEWEST.min(most);
    let mut best = with(fewest);
    for channels in fewest + 1..=most {
        let next = with(channels);
        if next.gains_on(&best) {
            best = next;
        }
    }
    best
}

/// The guest, if it wrote nothing.
fn still(guest: &Guest) -> Guest {
    Guest {
        dirty_rate: 0.0,
        ..*guest
    }
}

impl Candidate {
    /// `zstd level 1`
    pub(crate) fn name(&self) -> String {
        match self.level {
            _ if self.adapts => format!("{} adaptive", self.method),
            Some(level) => format!("{} level {level}", self.method),
            None => self.method.clone(),
        }
    }

    /// Whether more channels are worth it: a migration that now ends, or one that is faster by more than
    /// a twentieth.
    fn gains_on(&self, fewer: &Self) -> bool {
        let (new, old) = (&self.prediction, &fewer.prediction);
        match (new.converges, old.converges) {
            (true, false) => true,
            (false, true) => false,
            _ => old.total_time > new.total_time * (1.0 + WORTH),
        }
    }
}

/// The best of all candidates, of which there is at least one.
///
/// Those that keep to the downtime come first, then the fastest; of those that are nearly as fast, the
/// one that takes the least of the processors. Where accelerators can be used and the link is what pages
/// as they are wait for, QEMU's rules choose the accelerator; `channels` is for one that was not measured.
pub(crate) fn choose(
    candidates: &[Candidate],
    devices: &Devices,
    channels: usize,
) -> Option<Choice> {
    let any_converges = candidates.iter().any(|one| one.prediction.converges);
    let eligible = || {
        let fits = move |one: &&Candidate| one.prediction.converges || !any_converges;
        candidates.iter().filter(fits)
    };
    let time = |one: &Candidate| {
        if any_converges {
            one.prediction.total_time
        } else {
            one.prediction.downtime
        }
    };
    let shortest = eligible().map(time).fold(f64::INFINITY, f64::min);
    let near = |one: &&Candidate| time(one) <= shortest * (1.0 + NEAR);
    let cpu = |one: &Candidate| one.prediction.cpu.sum();
    let best = eligible()
        .filter(near)
        .min_by(|one, other| cpu(one).total_cmp(&cpu(other)))?;
    let none = candidates.iter().find(|one| one.method == "none");
    let link_limits = none.is_some_and(|none| none.prediction.bound == Bound::Link);
    match rule(devices, link_limits) {
        Some(rule) if best.method != "none" => by_rule(candidates, best, rule, channels),
        _ => Some(by_prediction(best, none, any_converges)),
    }
}

/// The rule's method, unless it was measured and is slower than the best one.
fn by_rule(
    candidates: &[Candidate],
    best: &Candidate,
    rule: Rule,
    channels: usize,
) -> Option<Choice> {
    let measured = candidates
        .iter()
        .filter(|one| one.method == rule.method && one.is_hardware)
        .min_by(|one, other| {
            one.prediction
                .total_time
                .total_cmp(&other.prediction.total_time)
        });
    let rule_says = format!("{}: {}", rule.method, rule.why);
    Some(match measured {
        Some(one) if one.prediction.total_time > best.prediction.total_time * (1.0 + NEAR) => {
            let mut choice = by_prediction(best, None, true);
            choice.why.push(format!(
                "the accelerator would be {rule_says}; measured here it is slower"
            ));
            choice
        }
        Some(one) => Choice {
            why: vec![rule_says, one.says()],
            ..one.choice()
        },
        None => Choice {
            method: rule.method.into(),
            level: None,
            channels,
            why: vec![
                rule_says,
                "its device was not measured here: there is no prediction for it".into(),
                format!("without the device: {}, {}", best.name(), best.says()),
            ],
        },
    })
}

fn by_prediction(best: &Candidate, none: Option<&Candidate>, converges: bool) -> Choice {
    let mut why = vec![best.says()];
    if !converges {
        why.push(
            "no method gets the downtime below its limit: this one pauses the guest for the shortest time; allow more downtime, throttle the guest, or use a faster link"
                .into(),
        );
    } else if best.method == "none" {
        why.push("compression would make it no faster, and takes cores".into());
    } else if let Some(none) = none {
        let (slow, fast) = (none.prediction, best.prediction);
        why.push(if none.prediction.converges {
            let times = slow.total_time / fast.total_time;
            format!(
                "{times:.1} times as fast as none, which takes {:.1} s",
                slow.total_time
            )
        } else {
            "pages as they are would be written faster than the link carries them".into()
        });
    }
    Choice {
        why,
        ..best.choice()
    }
}

impl Candidate {
    fn choice(&self) -> Choice {
        Choice {
            method: self.method.clone(),
            level: self.level,
            channels: self.channels,
            why: Vec::new(),
        }
    }

    pub(super) fn says(&self) -> String {
        let Prediction {
            total_time,
            downtime,
            cpu,
            bound,
            ..
        } = self.prediction;
        format!(
            "{total_time:.1} s in all, down for {:.0} ms, {:.1} + {:.1} s of cores, limit: {}",
            downtime * 1e3,
            cpu.send,
            cpu.recv,
            bound.name()
        )
    }
}

impl Bound {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::SourceCores => "source cores",
            Self::DestinationCores => "destination cores",
            Self::SharedCores => "shared cores",
            Self::SourceChannels => "source channels",
            Self::DestinationChannels => "destination channels",
        }
    }
}

/// QEMU's default. One connection seldom fills a link, and leaves nothing to spare.
const FEWEST: usize = 2;
/// More channels have to be worth at least so much of the time.
const WORTH: f64 = 0.05;
/// Times that differ by less are alike.
const NEAR: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::super::cost::{Engine, Sides};
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    fn one(method: &str, total_time: f64, cpu: f64, bound: Bound) -> Candidate {
        Candidate {
            method: method.into(),
            level: None,
            adapts: false,
            implementation: "software".into(),
            is_hardware: false,
            channels: 2,
            ratio: 2.0,
            prediction: Prediction {
                total_time,
                downtime: 0.01,
                cpu: Sides {
                    send: cpu,
                    recv: cpu,
                },
                transferred: 1.0,
                passes: 1,
                converges: true,
                bound,
            },
        }
    }

    fn chosen(candidates: &[Candidate], devices: &Devices) -> String {
        choose(candidates, devices, 8).unwrap().method
    }

    #[test]
    fn channels_are_as_many_as_are_worth_it() {
        let engine = Engine {
            wire_byte: Sides::default(),
            data_page: Sides::default(),
            zero_page: Sides::default(),
            setup: 0.0,
            switchover: 0.01,
        };
        let measured = Measured {
            one_channel: engine,
            channels: engine,
            codecs: Vec::new(),
        };
        // 100 MiB/s per channel, half of the bytes.
        let cpu = Sides {
            send: PAGE / (100.0 * MIB),
            recv: 0.0,
        };
        let codec = Codec {
            method: "half".into(),
            level: None,
            implementation: "software".into(),
            is_hardware: false,
            payload: PAGE / 2.0,
            cpu,
            elapsed: cpu,
            channels: 1,
        };
        let guest = Guest {
            pages: model::Pages {
                data: 1024.0 * MIB / PAGE,
                zero: 0.0,
            },
            dirty_rate: 0.0,
            downtime_limit: 0.3,
        };
        let channels = |bandwidth: f64, cores: f64, most: usize| {
            let hosts = Hosts {
                cores: Sides {
                    send: cores,
                    recv: cores,
                },
                shared: false,
                bandwidth: Some(bandwidth * MIB),
            };
            candidate(&measured, &codec, &hosts, &guest, most).channels
        };
        assert_eq!(channels(200.0, 8.0, 16), 4);
        assert_eq!(channels(200.0, 8.0, 3), 3);
        assert_eq!(channels(200.0, 8.0, 1), 1);
        assert_eq!(channels(1e6, 8.0, 16), 8);
        assert_eq!(channels(10.0, 8.0, 16), 2);
    }

    #[test]
    fn the_fastest_wins_and_of_equals_the_cheapest() {
        let devices = Devices::default();
        let none = one("none", 10.0, 1.0, Bound::Link);
        let slow_link = [
            none.clone(),
            one("zlib", 3.1, 9.0, Bound::Link),
            one("zstd", 3.0, 5.0, Bound::Link),
        ];
        assert_eq!(chosen(&slow_link, &devices), "zstd");
        let fast_link = [
            one("none", 1.05, 1.0, Bound::SourceCores),
            one("zstd", 1.0, 5.0, Bound::SourceCores),
        ];
        assert_eq!(chosen(&fast_link, &devices), "none");
    }

    #[test]
    fn what_keeps_to_the_down_time_comes_first() {
        let mut none = one("none", 1.0, 1.0, Bound::Link);
        none.prediction.converges = false;
        let zstd = one("zstd", 5.0, 5.0, Bound::SourceCores);
        let devices = Devices::default();
        assert_eq!(chosen(&[none.clone(), zstd.clone()], &devices), "zstd");
        // Of those that all do not, the one that stops the guest the shortest.
        let mut zstd = zstd;
        zstd.prediction.converges = false;
        zstd.prediction.downtime = 2.0;
        none.prediction.downtime = 1.0;
        assert_eq!(chosen(&[none, zstd], &devices), "none");
    }

    #[test]
    fn accelerators_go_by_the_rules() {
        let software = [
            one("none", 10.0, 1.0, Bound::Link),
            one("zstd", 3.0, 5.0, Bound::SourceCores),
        ];
        let devices = Devices {
            qat: 4,
            ..Devices::default()
        };
        let choice = choose(&software, &devices, 8).unwrap();
        assert_eq!((choice.method.as_str(), choice.channels), ("qatzip", 8));
        assert!(
            choice.why.iter().any(|why| why.contains("no prediction")),
            "{choice:?}"
        );
        // Measured, it has to be as good as it is said to be.
        let device = |total_time| Candidate {
            implementation: "hardware (libqatzip)".into(),
            is_hardware: true,
            ..one("qatzip", total_time, 0.5, Bound::Link)
        };
        let with = |total_time| [software.as_slice(), &[device(total_time)]].concat();
        assert_eq!(chosen(&with(2.5), &devices), "qatzip");
        assert_eq!(chosen(&with(4.0), &devices), "zstd");
        // A link that is no limit needs no accelerator.
        let fast = [
            one("none", 1.0, 1.0, Bound::SourceCores),
            one("zstd", 3.0, 5.0, Bound::SourceCores),
        ];
        assert_eq!(chosen(&fast, &devices), "none");
    }
}
