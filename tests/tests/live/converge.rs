// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Rounds, switchover, and guests that write too fast.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use multifd_core::Fault;
use multifd_migration::SourceConfig;
use multifd_migration::source::{AutoConverge, GuestAfter, OverTime, SourceEvent, Status};
use multifd_tests::live::{Guest, Outcome, Pair, Rate};

use super::method;

/// Pages of the guests: 16 MiB.
const PAGES: u64 = 4096;
/// Of guests that are sent again and again: 2 MiB.
const FEW_PAGES: u64 = 512;
/// Bytes per second of a slow link.
const LINK: u64 = 64 << 20;
/// Of one that no method is too slow for.
const SLOWER_LINK: u64 = 16 << 20;

#[test]
fn a_guest_that_writes_goes_on_there() -> Result<()> {
    for name in host_methods()? {
        for channels in [1, 2, 8] {
            // None, and 10, 50 and 90 % of what the link carries of pages as they are.
            for percent in [0, 10, 50, 90] {
                let rate = match percent {
                    0 => Rate::Never,
                    _ => Rate::Pages(SLOWER_LINK / 4096 * percent / 100),
                };
                let mut guest = Guest::start(PAGES / 4, rate)?;
                let mut config = slow();
                config.tuning.max_bandwidth = NonZeroU64::new(SLOWER_LINK);
                // For a host that is too slow for the last of them.
                config.time_limit = Some(Duration::from_secs(20));
                config.over_time = OverTime::SwitchOver;
                let outcome = pair(name, channels, config)?.migrate(&mut guest, |_| ())?;
                arrived(&guest, &outcome)
                    .with_context(|| format!("{name}, {channels} channels, {rate:?}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn states_and_passes_are_told_in_order() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Pages(8_000))?;
    let outcome = pair("none", 2, slow())?.migrate(&mut guest, |_| ())?;
    arrived(&guest, &outcome)?;
    ensure!(guest.states() == ["setup", "active", "device", "completed"]);
    let passes = guest.events.iter().filter_map(|event| match event {
        SourceEvent::Pass(pass) => Some(*pass),
        _ => None,
    });
    let passes: Vec<u64> = passes.collect();
    ensure!(
        passes.len() > 2 && passes.iter().copied().eq(1..=passes.len() as u64),
        "{passes:?}"
    );
    Ok(())
}

#[test]
fn it_waits_before_the_switchover() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Full)?;
    let config = config(|config| {
        config.pause_before_switchover = true;
        config.tuning.downtime_limit = Duration::from_secs(60);
    });
    let outcome = pair("none", 2, config)?.migrate(&mut guest, |controls| {
        while controls.source.status() != Status::PreSwitchover {
            assert!(!controls.source.status().is_final());
            std::thread::yield_now();
        }
        controls.source.proceed();
    })?;
    arrived(&guest, &outcome)?;
    ensure!(guest.states() == ["setup", "active", "pre-switchover", "device", "completed"]);
    Ok(())
}

#[test]
fn a_guest_that_is_too_fast_stays() -> Result<()> {
    for name in host_methods()? {
        for channels in [1, 2, 8] {
            too_fast_stays(name, channels)
                .with_context(|| format!("{name}, {channels} channels"))?;
        }
    }
    Ok(())
}

fn too_fast_stays(name: &str, channels: u8) -> Result<()> {
    let mut guest = Guest::start(PAGES / 2, Rate::Full)?;
    let mut config = too_slow(name);
    config.time_limit = Some(Duration::from_millis(700));
    let outcome = pair(name, channels, config)?.migrate(&mut guest, |_| ())?;
    let failure = outcome.source.err().context("it cannot have converged")?;
    ensure!(failure.guest == GuestAfter::Here);
    ensure!(failure.error.fault() == Fault::Caller, "{failure}");
    ensure!(
        failure.to_string().contains("faster than it can be sent"),
        "{failure}"
    );
    ensure!(outcome.destination.is_err());
    ensure!(guest.is_running() && guest.paused == 0);
    Ok(())
}

#[test]
fn a_guest_that_is_too_fast_goes_after_the_time_limit() -> Result<()> {
    for name in host_methods()? {
        let mut guest = Guest::start(FEW_PAGES, Rate::Full)?;
        let mut config = too_slow(name);
        config.time_limit = Some(Duration::from_millis(500));
        config.over_time = OverTime::SwitchOver;
        let outcome = pair(name, 2, config)?.migrate(&mut guest, |_| ())?;
        arrived(&guest, &outcome).with_context(|| name)?;
    }
    Ok(())
}

#[test]
fn a_guest_that_is_too_fast_is_slowed_down() -> Result<()> {
    for name in host_methods()? {
        too_fast_is_slowed_down(name).with_context(|| name)?;
    }
    Ok(())
}

fn too_fast_is_slowed_down(name: &str) -> Result<()> {
    let mut guest = Guest::start(PAGES / 2, Rate::Full)?;
    let mut config = too_slow(name);
    // Slower than the guest, faster than it is in the end; on a host that is too slow for that the time
    // limit decides.
    let link = config.tuning.max_bandwidth.map(|link| link.get() * 2);
    config.tuning.max_bandwidth = link.and_then(NonZeroU64::new);
    config.tuning.downtime_limit = Duration::from_millis(40);
    config.time_limit = Some(Duration::from_secs(4));
    config.over_time = OverTime::SwitchOver;
    let mut auto_converge = AutoConverge::default();
    auto_converge.increment = 40;
    config.auto_converge = Some(auto_converge);
    let outcome = pair(name, 2, config)?.migrate(&mut guest, |_| ())?;
    arrived(&guest, &outcome)?;
    ensure!(
        guest.throttled.first() == Some(&20),
        "{:?}",
        guest.throttled
    );
    ensure!(guest.throttled.last() == Some(&0), "{:?}", guest.throttled);
    Ok(())
}

#[test]
fn the_bandwidth_can_be_changed_meanwhile() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Pages(100))?;
    let mut config = slow();
    // 12 MiB would take 200 minutes.
    config.tuning.max_bandwidth = NonZeroU64::new(1 << 10);
    let outcome = pair("none", 2, config)?.migrate(&mut guest, |controls| {
        while controls.source.info().ram.multifd_bytes < 64 << 10 {
            std::thread::yield_now();
        }
        let mut tuning = controls.source.tuning();
        tuning.max_bandwidth = None;
        controls.source.tune(tuning);
    })?;
    arrived(&guest, &outcome)
}

#[test]
fn figures_are_those_of_query_migrate() -> Result<()> {
    let mut guest = Guest::start(PAGES, Rate::Pages(8_000))?;
    let mut handle = None;
    let outcome = pair("zstd", 2, slow())?.migrate(&mut guest, |controls| {
        handle = Some(controls.source);
    })?;
    arrived(&guest, &outcome)?;
    let info = handle.context("it was given one")?.info();
    let json = serde_json::to_value(&info)?;
    let report = outcome.source?;
    ensure!(json["status"] == "completed");
    ensure!(json["ram"]["total"] == PAGES * 4096);
    ensure!(json["ram"]["remaining"] == 0);
    ensure!(json["ram"]["page-size"] == 4096);
    ensure!(json["ram"]["transferred"] == report.transferred(), "{json}");
    ensure!(
        json["ram"]["multifd-bytes"] == report.channels.total().wire_bytes,
        "{json}"
    );
    ensure!(json["ram"]["duplicate"] == report.zero_pages());
    ensure!(json["ram"]["dirty-sync-count"].as_u64() > Some(2), "{json}");
    let items = &json["x-multifd"]["downtime-items"];
    let sum: f64 = ["pause", "wait", "fetch", "memory", "devices", "destination"]
        .iter()
        .filter_map(|item| items[item].as_f64())
        .sum();
    let total = json["downtime"].as_f64().context("there was a down time")?;
    ensure!((sum - total).abs() < 0.01, "{sum} of {total}");
    ensure!(json["x-multifd"]["channels"].as_array().map(Vec::len) == Some(2));
    let rounds = &info.more.rounds;
    let sent: u64 = rounds.iter().map(|round| round.guest_bytes).sum();
    let all = (info.ram.normal + info.ram.duplicate) * info.ram.page_size;
    ensure!(
        sent == all,
        "{sent} bytes in rounds, {all} in all: {rounds:?}"
    );
    ensure!(
        rounds.len() > 1 && rounds.iter().all(|round| round.ratio > 0.0),
        "{rounds:?}"
    );
    ensure!(rounds.is_sorted_by(|one, next| one.round < next.round));
    Ok(())
}

/// The guest is at the destination, whole, and paused here.
fn arrived(guest: &Guest, outcome: &Outcome) -> Result<()> {
    let report = outcome.source.as_ref().map_err(Clone::clone)?;
    outcome.destination.as_ref().map_err(Clone::clone)?;
    ensure!(!guest.is_running() && guest.paused == 1 && guest.resumed == 0);
    let items = report.down_time_items.context("there was a down time")?;
    ensure!(report.down_time == items.total());
    let devices = outcome.devices.as_ref().context("no devices")?;
    let writes = guest.writes().to_be_bytes();
    ensure!(devices.bytes.windows(8).any(|bytes| bytes == writes));
    guest.check_copy(&outcome.copy)
}

fn host_methods() -> Result<Vec<&'static str>> {
    Ok(multifd_tests::host::registry()?.names().collect())
}

/// Nothing can be as short as that, but a guest that stands still or writes little goes all the same.
#[test]
fn a_downtime_limit_of_nothing_ends() -> Result<()> {
    for rate in [Rate::Never, Rate::Pages(1000)] {
        let mut guest = Guest::start(PAGES, rate)?;
        let config = config(|config| {
            config.time_limit = Some(Duration::from_secs(60));
            config.tuning.downtime_limit = Duration::ZERO;
        });
        let outcome = pair("none", 2, config)?.migrate(&mut guest, |_| ())?;
        outcome.source.as_ref().map_err(Clone::clone)?;
        guest.check_copy(&outcome.copy)?;
    }
    Ok(())
}

fn pair(name: &str, channels: u8, config: SourceConfig) -> Result<Pair> {
    Ok(Pair {
        config,
        method: method(name)?,
        channels,
        return_path: true,
        ends_destination_late: false,
        on_start: None,
    })
}

fn config(change: impl FnOnce(&mut SourceConfig)) -> SourceConfig {
    let mut config = SourceConfig::default();
    change(&mut config);
    config
}

/// A link that carries fewer pages than a guest without a limit writes. What it writes shrinks to about
/// 50 bytes a page, but for `none`.
fn too_slow(name: &str) -> SourceConfig {
    config(|config| {
        let link = if name == "none" { 16 << 20 } else { 256 << 10 };
        config.tuning.max_bandwidth = NonZeroU64::new(link);
        config.tuning.downtime_limit = Duration::from_millis(1);
    })
}

/// A link of [`LINK`] bytes per second. A guest that does not converge on it fails its test.
fn slow() -> SourceConfig {
    config(|config| {
        config.time_limit = Some(Duration::from_secs(60));
        config.tuning.max_bandwidth = NonZeroU64::new(LINK);
        config.tuning.downtime_limit = Duration::from_millis(100);
    })
}
