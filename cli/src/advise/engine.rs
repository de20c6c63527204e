// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the engine costs without a method: migrations with `none` between two processes of this host.

use super::cost::{Engine, Sides};
use super::sample::Sample;
use crate::lab::guest::Guest;
use crate::lab::measurement::{Case, median};
use crate::lab::pair::{PairReport, Pairs};

/// Measures the engine on a sample.
pub(crate) fn measure(pairs: &Pairs, sample: &Sample, channels: u8) -> anyhow::Result<Engine> {
    let len = sample.guest().len();
    let zeros = run(pairs, &Sample::zeros(len)?, channels, "zero pages")?;
    let none = run(pairs, sample.guest(), channels, "pages as they are")?;
    let pages = sample.pages_of(len);
    let zero_page = zeros.cpu.each(|cpu| cpu / (pages.data + pages.zero));
    let of_data = none.cpu.minus(zero_page.each(|cpu| cpu * pages.zero));
    let share = |share: f64, per: f64| of_data.each(|cpu| (share * cpu / per.max(1.0)).max(0.0));
    Ok(Engine {
        wire_byte: share(WIRE_SHARE, none.transferred),
        data_page: share(1.0 - WIRE_SHARE, pages.data),
        zero_page,
        setup: none.setup,
        switchover: none.switchover,
    })
}

/// Medians of some migrations, in bytes and seconds.
struct Run {
    transferred: f64,
    cpu: Sides,
    setup: f64,
    switchover: f64,
}

fn run(pairs: &Pairs, guest: &Guest, channels: u8, what: &str) -> anyhow::Result<Run> {
    let case = Case {
        method: "none".into(),
        level: None,
        channels,
        max_bandwidth: 0,
        tls: false,
        adapts: false,
    };
    let mut reports = Vec::new();
    for _ in 0..=RUNS {
        guest.spoil_destination()?;
        reports.push(pairs.run(guest, &case.settings().into(), &format!("measuring {what}"))?);
    }
    // The first one finds everything new.
    reports.remove(0);
    let median = |value: fn(&PairReport) -> f64| median(reports.iter().map(value).collect());
    Ok(Run {
        transferred: median(|run| run.source.ram.transferred as f64),
        cpu: Sides {
            send: median(|run| run.source.cpu.time) / 1e3,
            recv: median(|run| run.destination.cpu.time) / 1e3,
        },
        setup: median(|run| run.source.setup_time) / 1e3,
        switchover: median(|run| run.source.downtime) / 1e3,
    })
}

/// Of what a page costs that goes as it is, so much is the kernel's copies and calls, which a page costs
/// less of if it is compressed: docs/performance.md, "Where the time goes".
const WIRE_SHARE: f64 = 0.75;
/// These are short: a second for all of them.
const RUNS: usize = 5;
