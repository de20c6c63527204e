// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How long a migration takes, from what its parts cost.
//!
//! A pass over some pages takes as long as its slowest part: the link, the threads of one side's
//! channels, or the cores. Precopy is a row of passes: the first sends all of memory, each other one what the
//! guest has written during the one before, until what is left fits into the downtime. Nothing here
//! measures or reads anything.

use serde::{Deserialize, Serialize};

use super::cost::{Codec, Engine, PAGE, Sides};

/// Memory that is sent, in pages of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Pages {
    pub(crate) data: f64,
    pub(crate) zero: f64,
}

/// The two hosts and what is between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Hosts {
    /// Cores that the source and the destination may use.
    pub(crate) cores: Sides,
    /// Both sides are on the same cores, the source's.
    pub(crate) shared: bool,
    /// Bytes per second of all channels together; `None` is a link without a limit.
    pub(crate) bandwidth: Option<f64>,
}

/// The guest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Guest {
    pub(crate) pages: Pages,
    /// Bytes of pages per second that it writes to; each page counts once per pass.
    pub(crate) dirty_rate: f64,
    /// Seconds that it may stand still.
    pub(crate) downtime_limit: f64,
}

/// What a pass takes longest for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bound {
    Link,
    SourceCores,
    DestinationCores,
    /// Cores that both sides share.
    SharedCores,
    /// The threads of the source's channels, of which there are fewer than cores.
    SourceChannels,
    DestinationChannels,
}

/// One migration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Prediction {
    /// Seconds.
    pub(crate) total_time: f64,
    /// Seconds.
    pub(crate) downtime: f64,
    /// Seconds of a core.
    pub(crate) cpu: Sides,
    /// Bytes on the wire.
    pub(crate) transferred: f64,
    /// Passes over memory.
    pub(crate) passes: u32,
    /// Whether the guest is stopped only when the downtime allows it.
    pub(crate) converges: bool,
    pub(crate) bound: Bound,
}

/// What a pass over some pages takes.
#[derive(Clone, Copy, Debug)]
struct Pass {
    time: f64,
    cpu: Sides,
    wire: f64,
    bound: Bound,
}

/// Predicts a migration with `channels` channels.
pub(crate) fn predict(
    engine: &Engine,
    codec: &Codec,
    hosts: &Hosts,
    guest: &Guest,
    channels: usize,
) -> Prediction {
    let pass = |pages: Pages| pass(engine, codec, hosts, pages, channels);
    let mut last = pass(guest.pages);
    let mut sum = last;
    let (mut passes, mut converges) = (1, true);
    let all = guest.pages.data + guest.pages.zero;
    let left = loop {
        // What was written meanwhile is data, whatever it was before.
        let written = (guest.dirty_rate * last.time / PAGE).min(all);
        let left = Pages {
            data: written,
            zero: 0.0,
        };
        let next = pass(left);
        if engine.switchover + next.time <= guest.downtime_limit {
            break left;
        }
        if passes == MOST_PASSES || (passes > 1 && next.time > last.time * SHRINKS) {
            converges = false;
            break left;
        }
        (last, passes) = (next, passes + 1);
        sum = sum.plus(&next);
    };
    let rest = pass(left);
    let downtime = engine.switchover + rest.time;
    let sum = if left.data > 0.0 {
        sum.plus(&rest)
    } else {
        sum
    };
    Prediction {
        total_time: engine.setup + engine.switchover + sum.time,
        downtime,
        cpu: sum.cpu,
        transferred: sum.wire,
        passes,
        converges,
        bound: sum.bound,
    }
}

fn pass(engine: &Engine, codec: &Codec, hosts: &Hosts, pages: Pages, channels: usize) -> Pass {
    let packets = (pages.data + pages.zero) / PAGES_PER_PACKET;
    let wire = pages.data * codec.payload + packets * HEADER;
    let cost = |side: fn(&Sides) -> f64| {
        let data = side(&engine.data_page) + side(&codec.cpu);
        let cpu = wire * side(&engine.wire_byte)
            + pages.data * data
            + pages.zero * side(&engine.zero_page);
        let waited = pages.data * (side(&codec.elapsed) - side(&codec.cpu)).max(0.0);
        (cpu, waited)
    };
    let (send, send_waited) = cost(|sides| sides.send);
    let (recv, recv_waited) = cost(|sides| sides.recv);
    // A thread that waits for a device needs no core, but its channel does nothing else.
    let lanes = |waited: f64| {
        let useful = if waited > 0.0 {
            codec.channels
        } else {
            channels
        };
        channels.min(useful).max(1) as f64
    };
    let cores = hosts.cores;
    let mut parts = vec![
        (
            Bound::SourceChannels,
            (send + send_waited) / lanes(send_waited),
        ),
        (
            Bound::DestinationChannels,
            (recv + recv_waited) / lanes(recv_waited),
        ),
    ];
    if hosts.shared {
        parts.push((Bound::SharedCores, (send + recv) / cores.send));
    } else {
        parts.push((Bound::SourceCores, send / cores.send));
        parts.push((Bound::DestinationCores, recv / cores.recv));
    }
    if let Some(bandwidth) = hosts.bandwidth {
        parts.push((Bound::Link, wire / bandwidth));
    }
    let mut slowest = (Bound::SourceChannels, 0.0);
    for part in parts {
        // Of two that are alike the later one says more: cores are why more channels do not help.
        if part.1 >= slowest.1 {
            slowest = part;
        }
    }
    Pass {
        time: slowest.1,
        cpu: Sides { send, recv },
        wire,
        bound: slowest.0,
    }
}

impl Pass {
    /// Both, one after the other. What the longer one is bound by counts.
    fn plus(&self, other: &Self) -> Self {
        let longer = if self.time >= other.time { self } else { other };
        Self {
            time: self.time + other.time,
            cpu: self.cpu.plus(other.cpu),
            wire: self.wire + other.wire,
            bound: longer.bound,
        }
    }
}

/// As the wire has them for pages of 4 KiB: `multifd_core::wire::ram_header_len`.
const HEADER: f64 = 1344.0;
const PAGES_PER_PACKET: f64 = 128.0;
/// Passes that shrink by less will not fit into the downtime in any time of interest.
const SHRINKS: f64 = 0.98;
/// More make no difference to anybody.
const MOST_PASSES: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// One second of a core per 1000 MiB on either side, and nothing else.
    fn engine() -> Engine {
        Engine {
            wire_byte: Sides::default(),
            data_page: Sides {
                send: PAGE / (1000.0 * MIB),
                recv: PAGE / (1000.0 * MIB),
            },
            zero_page: Sides::default(),
            setup: 0.0,
            switchover: 0.01,
        }
    }

    /// Halves everything, at 100 MiB/s and 400 MiB/s.
    fn codec() -> Codec {
        let cpu = Sides {
            send: PAGE / (100.0 * MIB),
            recv: PAGE / (400.0 * MIB),
        };
        Codec {
            method: "half".into(),
            level: None,
            implementation: "software".into(),
            is_hardware: false,
            payload: PAGE / 2.0,
            cpu,
            elapsed: cpu,
            channels: 4,
        }
    }

    fn none() -> Codec {
        Codec {
            payload: PAGE,
            cpu: Sides::default(),
            elapsed: Sides::default(),
            ..codec()
        }
    }

    fn hosts(cores: f64, bandwidth: f64) -> Hosts {
        Hosts {
            cores: Sides {
                send: cores,
                recv: cores,
            },
            shared: false,
            bandwidth: Some(bandwidth * MIB),
        }
    }

    fn guest(mib: f64, dirty_rate: f64) -> Guest {
        Guest {
            pages: Pages {
                data: mib * MIB / PAGE,
                zero: 0.0,
            },
            dirty_rate: dirty_rate * MIB,
            downtime_limit: 0.3,
        }
    }

    fn near(got: f64, want: f64) {
        assert!((got - want).abs() <= 0.01 * want, "{got}, wanted {want}");
    }

    #[test]
    fn the_slowest_part_decides() {
        let (engine, guest) = (engine(), guest(1000.0, 0.0));
        let at = |codec: &Codec, hosts, channels| predict(&engine, codec, &hosts, &guest, channels);
        // 1000 MiB as they are over 100 MiB/s.
        let slow = at(&none(), hosts(8.0, 100.0), 2);
        near(slow.total_time, 10.0);
        assert_eq!(slow.bound, Bound::Link);
        // Half of it, but compressed by two threads of 91 MiB/s each.
        let two = at(&codec(), hosts(8.0, 100.0), 2);
        near(two.total_time, 5.5);
        assert_eq!(two.bound, Bound::SourceChannels);
        // Enough threads: the link again.
        let eight = at(&codec(), hosts(8.0, 100.0), 8);
        near(eight.total_time, 5.0);
        assert_eq!(eight.bound, Bound::Link);
        // Threads without cores are no help.
        let cores = at(&codec(), hosts(1.0, 1000.0), 8);
        near(cores.total_time, 11.0);
        assert_eq!(cores.bound, Bound::SourceCores);
        near(cores.cpu.send, 11.0);
        near(cores.cpu.recv, 3.5);
    }

    #[test]
    fn shared_cores_do_the_work_of_both() {
        let shared = Hosts {
            shared: true,
            bandwidth: None,
            ..hosts(2.0, 0.0)
        };
        let prediction = predict(&engine(), &codec(), &shared, &guest(1000.0, 0.0), 2);
        near(prediction.total_time, (11.0 + 3.5) / 2.0);
        assert_eq!(prediction.bound, Bound::SharedCores);
    }

    #[test]
    fn zero_pages_cost_what_they_cost() {
        let mut guest = guest(1000.0, 0.0);
        guest.pages.zero = guest.pages.data;
        let mut engine = engine();
        let fast = hosts(8.0, 1e6);
        let free = predict(&engine, &none(), &fast, &guest, 1);
        near(free.total_time, 1.01);
        engine.zero_page.send = engine.data_page.send;
        let dear = predict(&engine, &none(), &fast, &guest, 1);
        near(dear.total_time, 2.01);
        near(free.transferred, 1000.0 * MIB);
    }

    #[test]
    fn passes_shrink_until_they_fit_into_the_down_time() {
        let (engine, none) = (engine(), none());
        let at = |rate| predict(&engine, &none, &hosts(8.0, 100.0), &guest(1000.0, rate), 8);
        // Nothing is written: the switchover alone.
        let still = at(0.0);
        assert_eq!((still.passes, still.converges), (1, true));
        near(still.downtime, 0.01);
        // Half of the link's rate: 10 s, 5 s, 2.5 s, ... until 0.29 s are left.
        let half = at(50.0);
        assert_eq!((half.passes, half.converges), (6, true));
        // The headers of six passes.
        near(half.downtime, (0.01 + 10.0 / 64.0) * 1.016);
        near(half.total_time, 0.01 + 20.0 * (1.0 - 1.0 / 128.0));
        // Faster than the link: it never fits.
        let never = at(110.0);
        assert!(!never.converges);
        assert!(never.downtime > 0.3);
        // What halves the bytes doubles what can be written.
        let compressed = predict(
            &engine,
            &codec(),
            &hosts(16.0, 100.0),
            &guest(1000.0, 110.0),
            16,
        );
        assert!(compressed.converges, "{compressed:?}");
    }

    #[test]
    fn no_more_is_written_than_there_is() {
        let prediction = predict(&engine(), &none(), &hosts(8.0, 100.0), &guest(10.0, 1e6), 8);
        // All of it, in time.
        assert!(prediction.converges);
        near(prediction.downtime, 0.01 + 0.1);
    }

    #[test]
    fn a_device_is_not_faster_with_more_channels_than_it_was_measured_with() {
        let device = Codec {
            cpu: Sides::default(),
            elapsed: codec().cpu,
            ..codec()
        };
        let engine = Engine {
            data_page: Sides::default(),
            ..engine()
        };
        let at = |channels| {
            predict(
                &engine,
                &device,
                &hosts(1.0, 1e6),
                &guest(1000.0, 0.0),
                channels,
            )
        };
        near(at(1).total_time, 10.01);
        // Four channels wait at the same time, on one core.
        near(at(4).total_time, 2.51);
        near(at(16).total_time, 2.51);
        assert_eq!(at(4).cpu, Sides::default());
    }
}
