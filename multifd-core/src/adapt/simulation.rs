// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that take place on paper: a link, processors, and memory, each of which may change.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::config::AdaptConfig;
use super::controller::Controller;
use super::mix::{Mix, Point, Rates};
use super::window::Observation;
use crate::method::Rung;

/// What a migration has to do with.
#[derive(Clone, Copy, Debug)]
struct World {
    /// Bytes per second.
    link: f64,
    processors: f64,
    channels: usize,
    /// Bytes that fit between the two ends, for each channel.
    buffer: f64,
    /// Whether the sender itself keeps to the rate.
    paced: bool,
    /// How compressible memory is, in relation to what the ladder expects.
    gain: f64,
    /// How fast the processors are, in relation to that.
    speed: f64,
    /// Receiver's bytes per second, decompressing.
    receiver: f64,
}

const LADDER: &[Rung] = &[
    Rung::raw(0.25),
    Rung::new("-50", -50, 1.1, 0.26),
    Rung::new("-4", -4, 2.1, 0.58),
    Rung::new("1", 1, 2.6, 0.69),
    Rung::new("3", 3, 4.2, 0.715),
    Rung::new("6", 6, 14.0, 0.731),
    Rung::new("9", 9, 20.0, 0.734),
];

const PACKET: f64 = 524_288.0;

impl World {
    const USUAL: Self = Self {
        link: 125e6,
        processors: 2.0,
        channels: 2,
        buffer: 1e6,
        paced: false,
        gain: 1.0,
        speed: 1.0,
        receiver: 30e9,
    };

    /// What a byte takes on a rung. The relations are not quite what the ladder expects.
    fn point(&self, rung: usize) -> Point {
        let known = &LADDER[rung];
        let wrong = [1.0, 0.8, 1.15, 1.0, 1.2, 0.9, 1.1][rung];
        Point {
            wire: 1.0 - f64::from(known.gain) * self.gain.min(1.3),
            cpu: f64::from(known.cost) * 1e-9 * wrong / self.speed,
            receiver: if known.is_raw() { 0.2 } else { 1.0 },
        }
    }

    fn rates(&self) -> Rates {
        Rates {
            link: self.link,
            processors: self.processors.min(self.channels as f64),
            receiver: self.receiver,
        }
    }

    fn time(&self, mix: Mix) -> f64 {
        let points: Vec<Point> = (0..LADDER.len()).map(|rung| self.point(rung)).collect();
        mix.point(&points).time(&self.rates())
    }

    /// Seconds per byte at best, of one rung.
    fn best_fixed(&self) -> f64 {
        let each = (0..LADDER.len()).map(|rung| self.time(Mix::only(rung)));
        each.fold(f64::INFINITY, f64::min)
    }
}

/// A migration that goes on and on.
struct Run {
    controller: Controller,
    now: f64,
    channels: Vec<Making>,
    /// When the link has sent all that it has.
    link_free: f64,
    receiver_free: f64,
    guest_bytes: f64,
    cpu: f64,
    changes: Vec<(f64, Mix)>,
}

/// The packet that a channel makes.
#[derive(Clone, Copy, Default)]
struct Making {
    rung: usize,
    point: Point,
    busy: f64,
    /// When it is ready to be sent.
    made: f64,
}

impl Run {
    fn new(world: &World) -> Self {
        Self::with(world, AdaptConfig::default())
    }

    fn with(world: &World, config: AdaptConfig) -> Self {
        // A host may well have more processors than work for this migration.
        let controller = Controller::new(config, LADDER, world.channels, 8);
        let mut run = Self {
            controller,
            now: 0.0,
            channels: Vec::new(),
            link_free: 0.0,
            receiver_free: 0.0,
            guest_bytes: 0.0,
            cpu: 0.0,
            changes: Vec::new(),
        };
        for _ in 0..world.channels {
            let making = run.make(world, 0.0);
            run.channels.push(making);
        }
        run
    }

    /// Lets `seconds` go by in this world; answers seconds per byte.
    fn go(&mut self, world: &World, seconds: f64) -> f64 {
        let (start, before) = (self.now, self.guest_bytes);
        while self.now < start + seconds {
            self.send(world);
        }
        (self.now - start) / (self.guest_bytes - before)
    }

    /// A channel begins a packet at `now`.
    fn make(&mut self, world: &World, now: f64) -> Making {
        let rung = self.controller.choose();
        let point = world.point(rung);
        // All channels work at the same time; where there are more than processors each waits for its turn.
        let stretch = (world.channels as f64 / world.processors).max(1.0);
        let busy = point.cpu * PACKET * stretch;
        Making {
            rung,
            point,
            busy,
            made: now + busy,
        }
    }

    /// The channel that is ready first sends its packet, and begins the next.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no more than a packet has"
    )]
    fn send(&mut self, world: &World) {
        let ready = |channel: &usize| self.channels[*channel].made;
        let next = (0..self.channels.len())
            .min_by(|a, b| ready(a).total_cmp(&ready(b)))
            .unwrap();
        let Making {
            rung,
            point,
            busy,
            made,
        } = self.channels[next];
        let wire = point.wire * PACKET;
        // A sender that holds itself back does so for what is queued.
        let queued = if world.paced {
            2.0 * wire
        } else {
            world.buffer
        };
        let room = queued * world.channels as f64;
        // There is room once all but the buffers' bytes are through.
        let through = self.link_free.max(self.receiver_free) - room / world.link;
        // A connection has room again when a part of its buffer is free, not for each packet.
        let burst = if world.paced {
            0.0
        } else {
            world.buffer / 3.0 * world.channels as f64 / world.link
        };
        let sent = match through > made && burst > 0.0 {
            true => (through / burst).ceil() * burst,
            false => made.max(through),
        };
        self.link_free = self.link_free.max(made) + wire / world.link;
        self.receiver_free =
            self.receiver_free.max(made) + point.receiver * PACKET / world.receiver;
        self.now = self.now.max(made);
        self.guest_bytes += PACKET;
        self.cpu += point.cpu * PACKET;
        let seconds = |time: f64| Duration::from_secs_f64(time.max(0.0));
        let waited = seconds(sent - made);
        if world.paced {
            self.controller
                .held(waited / u32::try_from(world.channels).unwrap());
        }
        let before = self.controller.mix();
        self.controller.observe(
            seconds(sent),
            &Observation {
                rung,
                guest_bytes: 524_288,
                wire_bytes: wire as usize,
                cpu: seconds(point.cpu * PACKET),
                busy: seconds(busy),
                blocked: if world.paced { Duration::ZERO } else { waited },
                idle: if world.paced { waited } else { Duration::ZERO },
            },
        );
        if self.controller.mix() != before {
            self.changes.push((sent, self.controller.mix()));
        }
        self.channels[next] = self.make(world, sent);
    }
}

fn worlds() -> impl Strategy<Value = World> {
    let link = (0.2_f64..26.0).prop_map(|gigabits| gigabits * 125e6);
    (
        link,
        2_usize..=8,
        1.0_f64..8.0,
        0.0_f64..1.2,
        any::<bool>(),
        0.5_f64..2.0,
    )
        .prop_map(|(link, channels, processors, gain, paced, speed)| World {
            link,
            channels,
            processors,
            gain,
            paced,
            speed,
            ..World::USUAL
        })
}

/// Some worlds, always the same; or many, and others each time.
fn some_worlds() -> ProptestConfig {
    match std::env::var_os("MULTIFD_ADAPT_WORLDS") {
        Some(_) => ProptestConfig::with_cases(1000),
        None => ProptestConfig {
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::with_cases(24)
        },
    }
}

proptest! {
    #![proptest_config(some_worlds())]

    #[test]
    fn no_level_is_better_for_long(world in worlds()) {
        let mut run = Run::new(&world);
        run.go(&world, 1.0);
        let time = run.go(&world, 3.0);
        let best = world.best_fixed();
        prop_assert!(time < best * 1.1, "{} of the best: {:?}", time / best, run.changes);
    }

    #[test]
    fn a_change_is_followed_within_a_second(before in worlds(), after in worlds()) {
        // The link or the memory changes, not the machine.
        let after = World { channels: before.channels, processors: before.processors, speed: before.speed, ..after };
        let mut run = Run::new(&before);
        run.go(&before, 3.0);
        run.go(&after, 1.0);
        let time = run.go(&after, 2.0);
        let best = after.best_fixed();
        prop_assert!(time < best * 1.2, "{} of the best: {:?}", time / best, run.changes);
    }

    #[test]
    fn it_does_not_oscillate(world in worlds()) {
        let mut run = Run::new(&world);
        run.go(&world, 2.0);
        run.changes.clear();
        run.go(&world, 4.0);
        // Neighbours of the same mix are the same, seen from outside.
        let share = |mix: Mix| world.time(mix);
        let times: Vec<f64> = run.changes.iter().map(|(_, mix)| share(*mix)).collect();
        let worst = times.iter().copied().fold(0.0, f64::max);
        let far = times.iter().filter(|time| **time > world.best_fixed() * 1.15).count();
        prop_assert!(far <= 6, "{far} of {} changes go astray, to {}", times.len(), worst / world.best_fixed());
    }
}

#[test]
fn the_cells_of_a_table() {
    for gigabits in [0.25, 1.0, 2.5, 10.0, 25.0, 100.0] {
        for (channels, processors) in [(2, 2.0), (8, 2.0), (8, 8.0)] {
            for paced in [false, true] {
                let world = World {
                    link: gigabits * 125e6,
                    channels,
                    processors,
                    paced,
                    ..World::USUAL
                };
                let mut run = Run::new(&world);
                let first = run.go(&world, 0.5) / world.best_fixed();
                let later = run.go(&world, 2.0) / world.best_fixed();
                let cell = format!("{gigabits} Gbit/s, {channels} on {processors}, paced {paced}");
                assert!(
                    first < 1.25,
                    "{cell}: {first} of the best at first, {:?}",
                    run.changes
                );
                assert!(
                    later < 1.05,
                    "{cell}: {later} of the best, {:?}",
                    run.changes
                );
            }
        }
    }
}

/// Memory that holds files of all kinds is more compressible in one moment and less in the next, which is no reason to
/// believe in another link.
#[test]
fn memory_of_many_kinds_does_not_confuse() {
    for gigabits in [0.25, 1.0, 2.5] {
        let of = |gain| World {
            link: gigabits * 125e6,
            speed: 0.8,
            gain,
            ..World::USUAL
        };
        let kinds = [0.7, 1.15, 0.95, 1.2, 0.8].map(of);
        let fixed = |rung| kinds.iter().map(|world| world.time(Mix::only(rung))).sum();
        let best = (0..LADDER.len()).map(fixed).fold(f64::INFINITY, f64::min);
        let mut run = Run::new(&kinds[0]);
        run.go(&kinds[0], 0.5);
        let mut time = 0.0;
        for _ in 0..40 {
            // As many bytes of each, in about so many seconds.
            for world in &kinds {
                let (start, before) = (run.now, run.guest_bytes);
                while run.guest_bytes < before + 24e6 {
                    run.send(world);
                }
                time += (run.now - start) / (run.guest_bytes - before);
            }
        }
        let time = time / 40.0 / best;
        assert!(
            time < 1.05,
            "{gigabits} Gbit/s: {time} of the best, {:?}",
            run.changes
        );
    }
}

#[test]
fn two_rungs_are_faster_than_one() {
    for gigabits in [2.5, 10.0, 25.0] {
        let world = World {
            link: gigabits * 125e6,
            ..World::USUAL
        };
        let mut run = Run::new(&world);
        run.go(&world, 1.0);
        let time = run.go(&world, 2.0) / world.best_fixed();
        assert!(time < 0.97, "{gigabits} Gbit/s: {time} of the best");
    }
}

/// What looks like a link of 1 Gbit/s is a receiver that decompresses no faster: strong levels would be five times as slow
/// as memory as it is.
#[test]
fn a_slow_receiver_is_not_taken_for_a_slow_link_for_long() {
    for channels in [2, 8] {
        let world = World {
            link: 12.5e9,
            processors: 8.0,
            channels,
            receiver: 500e6,
            ..World::USUAL
        };
        let mut run = Run::new(&world);
        run.go(&world, 4.0);
        let time = run.go(&world, 4.0) / world.best_fixed();
        let changes = &run.changes;
        assert!(
            time < 3.0,
            "{channels} channels: {time} of the best, {changes:?}"
        );
    }
}

#[test]
fn incompressible_memory_is_left_as_it_is() {
    let world = World {
        gain: 0.0,
        ..World::USUAL
    };
    let mut run = Run::new(&world);
    run.go(&world, 1.0);
    let (before, bytes) = (run.cpu, run.guest_bytes);
    run.go(&world, 2.0);
    let cost = (run.cpu - before) / (run.guest_bytes - bytes);
    assert!(cost < 1.5 * world.point(0).cpu, "{cost} s for a byte");
    let compressible = World::USUAL;
    run.go(&compressible, 1.0);
    let time = run.go(&compressible, 2.0);
    assert!(time < compressible.best_fixed() * 1.05);
}

#[test]
fn the_processors_are_spared_as_far_as_it_is_wanted() {
    let config = AdaptConfig {
        cpu_limit: Some(50),
        ..AdaptConfig::default()
    };
    let world = World::USUAL;
    let mut run = Run::with(&world, config);
    run.go(&world, 1.0);
    let (start, before) = (run.now, run.cpu);
    run.go(&world, 3.0);
    let used = (run.cpu - before) / (run.now - start);
    assert!((0.4..0.56).contains(&used), "{used} processors");
}

#[test]
fn levels_are_not_exceeded_and_a_paused_guest_waits_for_no_strong_one() {
    let config = AdaptConfig {
        max_level: 3,
        ..AdaptConfig::default()
    };
    let world = World {
        link: 5e6,
        ..World::USUAL
    };
    let mut run = Run::with(&world, config);
    run.go(&world, 3.0);
    let highest = run.changes.iter().map(|(_, mix)| mix.high).max();
    assert_eq!(highest, Some(4), "{:?}", run.changes);
    run.controller.pause();
    for _ in 0..100 {
        assert_eq!(LADDER[run.controller.choose()].level, 1);
    }
    let fast = World {
        link: 12.5e9,
        processors: 1.0,
        ..World::USUAL
    };
    let mut run = Run::new(&fast);
    run.go(&fast, 1.0);
    run.controller.pause();
    assert_eq!(run.controller.choose(), 0);
}
