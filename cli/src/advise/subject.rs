// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The methods and levels that are tried.

use std::sync::Arc;
use std::time::Duration;

use multifd_core::{MethodId, MethodOptions, MultifdMethods};
use serde::{Deserialize, Serialize};

use super::cost::{Codec, Engine, Sides};
use super::engine;
use super::hosts::{cores_here, shared};
use super::measure::{self, Effort};
use super::sample::Sample;
use crate::args::AdviseArgs;
use crate::ends::methods;
use crate::lab::bench::levels;
use crate::lab::laboratory;
use crate::lab::measurement::median;
use crate::lab::pair::Pairs;
use crate::show::output;

/// A method at a level.
pub(crate) struct Subject {
    method: Arc<dyn MultifdMethods>,
    pub(crate) level: Option<u8>,
}

/// What everything costs on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Measured {
    /// With one channel: cores are idle between packets, and are woken up for each.
    pub(crate) one_channel: Engine,
    /// With as many channels as cores, which then have no rest.
    pub(crate) channels: Engine,
    pub(crate) codecs: Vec<Codec>,
}

impl Measured {
    /// What the engine costs with so many channels.
    pub(crate) fn engine(&self, channels: usize) -> &Engine {
        if channels == 1 {
            &self.one_channel
        } else {
            &self.channels
        }
    }

    /// The medians of each figure of some measurements of the same methods, at least one.
    pub(crate) fn median(all: &[Self]) -> Self {
        let number = |value: &dyn Fn(&Self) -> f64| median(all.iter().map(value).collect());
        let sides = |value: &dyn Fn(&Self) -> Sides| Sides {
            send: number(&|one| value(one).send),
            recv: number(&|one| value(one).recv),
        };
        let engine = |engine: fn(&Self) -> &Engine| Engine {
            wire_byte: sides(&|one| engine(one).wire_byte),
            data_page: sides(&|one| engine(one).data_page),
            zero_page: sides(&|one| engine(one).zero_page),
            setup: number(&|one| engine(one).setup),
            switchover: number(&|one| engine(one).switchover),
        };
        let codecs = all.first().map_or(&[][..], |first| &first.codecs).iter();
        Self {
            one_channel: engine(|one| &one.one_channel),
            channels: engine(|one| &one.channels),
            codecs: codecs
                .enumerate()
                .map(|(at, codec)| {
                    let of = |one: &Self| one.codecs.get(at).unwrap_or(codec).clone();
                    Codec {
                        payload: number(&|one| of(one).payload),
                        cpu: sides(&|one| of(one).cpu),
                        elapsed: sides(&|one| of(one).elapsed),
                        ..codec.clone()
                    }
                })
                .collect(),
        }
    }
}

/// Opens each method at each of its levels.
pub(crate) fn all(args: &AdviseArgs) -> anyhow::Result<Vec<Subject>> {
    let registry = methods::registry()?;
    let usual = if args.check { &CHECKED[..] } else { &USUAL[..] };
    let wanted = if args.levels.is_empty() {
        usual
    } else {
        &args.levels
    };
    let mut subjects = Vec::new();
    for method in laboratory::methods(&args.methods)? {
        for level in levels(&method, wanted) {
            let mut options = MethodOptions::new();
            if let Some(level) = level {
                options.set(format!("multifd-{method}-level"), level);
            }
            subjects.push(Subject {
                method: registry.open(&method, &args.accelerator.options(options))?,
                level,
            });
        }
    }
    Ok(subjects)
}

impl Subject {
    pub(crate) fn method(&self) -> &'static str {
        self.method.name()
    }

    /// Whether a source can choose a level for each packet.
    pub(crate) fn can_adapt(&self) -> bool {
        self.method.ladder().len() > 1
    }

    /// `zstd level 1`
    pub(crate) fn name(&self) -> String {
        match self.level {
            Some(level) => format!("{} level {level}", self.method()),
            None => self.method().to_owned(),
        }
    }

    pub(crate) fn measure(&self, sample: &Sample, effort: Effort) -> anyhow::Result<Codec> {
        if self.method.id() == MethodId::NONE {
            // What it costs is what the engine costs.
            return Ok(measure::free(&*self.method));
        }
        measure::measure(&*self.method, self.level, sample, effort)
    }
}

/// What is worth its time: the fastest, and what costs a few times as much.
const USUAL: [u8; 3] = [1, 3, 6];
/// Only what every method has by default.
const CHECKED: [u8; 1] = [1];

/// Measures all of them, and the engine.
pub(super) fn measure_all(
    args: &AdviseArgs,
    subjects: &[Subject],
    sample: &Sample,
    pairs: &Pairs,
) -> anyhow::Result<Measured> {
    let channels = cores_here().min(args.channels.into());
    let effort = Effort {
        // On shared cores the threads of both sides take turns, which costs them their caches.
        threads: if shared(args) { 2 * channels } else { channels },
        time: EFFORT,
    };
    let mut codecs = Vec::new();
    for subject in subjects {
        pairs.check_interrupted()?;
        output::message(format_args!("measuring {}", subject.name()));
        codecs.push(subject.measure(sample, effort)?);
    }
    output::message(format_args!("measuring the engine"));
    let channels = u8::try_from(channels).unwrap_or(u8::MAX);
    Ok(Measured {
        one_channel: engine::measure(pairs, sample, 1)?,
        channels: engine::measure(pairs, sample, channels)?,
        codecs,
    })
}

/// For each method and level, of each core.
const EFFORT: Duration = Duration::from_millis(600);
