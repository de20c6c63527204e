// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `--report FILE.html`: one page, which needs nothing else, that shows how migrations went.

mod chart;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use multifd_migration::source::{DownTime, RoundInfo};

use crate::show::clock::millis;
use crate::show::measurement::Measurement;
use crate::show::report::MigrationReport;
use crate::show::rungs;
use crate::show::timeline::Sample;
use chart::{Chart, Series};

/// One migration, as both sides saw it.
pub(crate) struct PageRun<'a> {
    pub(crate) source: &'a MigrationReport,
    pub(crate) destination: &'a MigrationReport,
    pub(crate) row: &'a Measurement,
}

/// Writes the page. `about` says what was migrated where, one line each.
pub(crate) fn write(path: &Path, about: &[String], runs: &[PageRun<'_>]) -> anyhow::Result<()> {
    fs::write(path, html(about, runs)).with_context(|| format!("writing {}", path.display()))
}

fn html(about: &[String], runs: &[PageRun<'_>]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>multifd migrations</title>\n<style>{STYLE}</style>\n\
         <h1>multifd migrations</h1>\n"
    );
    for line in about {
        let _ = writeln!(page, "<p>{}</p>", escaped(line));
    }
    page.push_str(&table(runs));
    for run in runs {
        page.push_str(&section(run));
    }
    page.push_str("</html>\n");
    page
}

fn table(runs: &[PageRun<'_>]) -> String {
    let mut table = String::from("<table><tr>");
    for heading in [
        "method",
        "channels",
        "total time, ms",
        "downtime, ms",
        "mbps",
        "pages per second",
        "rounds",
        "send cpu, %",
        "recv cpu, %",
        "ratio",
        "verified",
    ] {
        let _ = write!(table, "<th>{heading}</th>");
    }
    for run in runs {
        let row = run.row;
        let _ = write!(
            table,
            "</tr>\n<tr><td>{}</td><td>{}</td><td>{:.0}</td><td>{:.1}</td><td>{:.0}</td>\
             <td>{:.0}</td><td>{}</td><td>{:.0}</td><td>{:.0}</td><td>{:.2}</td><td>{}</td>",
            escaped(&row.name()),
            row.channels,
            row.total_time,
            row.downtime,
            row.mbps,
            row.pages_per_second,
            row.dirty_sync_count
                .map(|rounds| rounds.to_string())
                .unwrap_or_default(),
            row.send_cpu,
            row.recv_cpu,
            row.ratio,
            if row.verified { "yes" } else { "<b>no</b>" },
        );
    }
    table.push_str("</tr></table>\n");
    table
}

fn section(run: &PageRun<'_>) -> String {
    let (source, destination) = (run.source, run.destination);
    let mut section = format!(
        "<section><h2>{}</h2>\n<p>{}</p>\n",
        escaped(&run.row.name()),
        escaped(&source.implementation),
    );
    if let (Some(here), Some(there)) = (&source.guest_check, &destination.guest_check) {
        let _ = writeln!(
            section,
            "<p>The guest wrote to {} pages until it was stopped, and to {} more at the destination, where it \
             looked at {}.</p>",
            here.written,
            there.written - there.written_before.min(there.written),
            there.checked - here.checked.min(there.checked),
        );
    }
    if !source.rungs.is_empty() {
        let line = escaped(&rungs::line(&source.rungs));
        let _ = writeln!(section, "<p>Packets by level: {line}</p>");
    }
    let end = source.timeline.last().map_or(0.0, |sample| sample.at);
    let band = Some((end - source.downtime, end)).filter(|(from, _)| *from >= 0.0);
    let charts = [
        (
            "Memory left to send",
            "MiB",
            vec![remaining(&source.timeline)],
        ),
        ("Rates", "MiB/s", rates(&source.timeline)),
        (
            "Compression",
            "bytes of memory per byte on the wire",
            vec![ratio(&source.timeline)],
        ),
        (
            "Processor time",
            "% of one processor",
            vec![
                cpu("source", &source.timeline),
                cpu("destination", &destination.timeline),
            ],
        ),
    ];
    for (title, unit, series) in charts {
        let chart = Chart {
            title,
            unit,
            series,
            band,
        };
        section.push_str(&chart.svg());
    }
    if let Some(items) = &source.downtime_items {
        section.push_str(&down_time(source.downtime, items));
    }
    section.push_str(&rounds(&source.rounds));
    section.push_str("</section>\n");
    section
}

fn remaining(samples: &[Sample]) -> Series {
    let point = |sample: &Sample| {
        let source = sample.source.as_ref()?;
        Some((sample.at, mebibytes(source.remaining as f64)))
    };
    Series {
        name: "remaining",
        points: samples.iter().filter_map(point).collect(),
    }
}

fn rates(samples: &[Sample]) -> Vec<Series> {
    let dirty = |sample: &Sample| {
        let source = sample.source.as_ref()?;
        Some((sample.at, mebibytes(source.dirty_rate)))
    };
    vec![
        Series {
            name: "guest memory sent",
            points: per_second(samples, |sample| mebibytes(sample.guest_bytes as f64)),
        },
        Series {
            name: "bytes on the wire",
            points: per_second(samples, |sample| mebibytes(sample.wire_bytes as f64)),
        },
        Series {
            name: "made dirty by the guest",
            points: samples.iter().filter_map(dirty).collect(),
        },
    ]
}

/// Bytes of guest memory per byte on the wire, from window to window.
fn ratio(samples: &[Sample]) -> Series {
    let guest = per_second(samples, |sample| sample.guest_bytes as f64);
    let wire = per_second(samples, |sample| sample.wire_bytes as f64);
    let points = guest.into_iter().zip(wire);
    let sent = points.filter(|(_, (_, wire))| *wire > 0.0);
    Series {
        name: "ratio",
        points: sent
            .map(|((at, guest), (_, wire))| (at, guest / wire))
            .collect(),
    }
}

/// A table of the rounds.
fn rounds(rounds: &[RoundInfo]) -> String {
    let mut table = String::from(
        "<table><tr><th>round</th><th>time, ms</th><th>memory, MiB</th><th>on the wire, MiB</th>\
         <th>ratio</th>",
    );
    for round in rounds {
        let _ = write!(
            table,
            "</tr>\n<tr><td>{}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.2}</td>",
            round.round,
            round.time,
            mebibytes(round.guest_bytes as f64),
            mebibytes(round.transferred as f64),
            round.ratio,
        );
    }
    table.push_str("</tr></table>\n");
    table
}

fn cpu(name: &'static str, samples: &[Sample]) -> Series {
    // Milliseconds per millisecond.
    let percent = |sample: &Sample| sample.cpu_time * 100.0 / 1e3;
    Series {
        name,
        points: per_second(samples, percent),
    }
}

/// The growth of a count per second, over at least [`RATE_WINDOW`] each.
fn per_second(samples: &[Sample], count: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut samples = samples.iter();
    let Some(mut last) = samples.next() else {
        return points;
    };
    for sample in samples {
        let time = sample.at - last.at;
        if time >= RATE_WINDOW {
            points.push((sample.at, (count(sample) - count(last)) / time * 1e3));
            last = sample;
        }
    }
    points
}

/// A bar of what the downtime was spent on, and the same in words.
fn down_time(total: f64, items: &DownTime) -> String {
    let items = [
        ("pause", millis(items.pause)),
        ("wait", millis(items.wait)),
        ("fetch of the dirty log", millis(items.fetch)),
        ("last memory", millis(items.memory)),
        ("devices", millis(items.devices)),
        ("destination", millis(items.destination)),
    ];
    let sum: f64 = items.iter().map(|(_, time)| time).sum();
    let mut bar = format!(
        "<figure><figcaption>Downtime <small>{total:.1} ms</small></figcaption><div class=\"bar\">"
    );
    for (at, (_, time)) in items.iter().enumerate() {
        let share = 100.0 * time / sum.max(1e-9);
        let _ = write!(bar, "<i class=\"s{at}\" style=\"width:{share:.2}%\"></i>");
    }
    bar.push_str("</div><p>");
    for (at, (name, time)) in items.iter().enumerate() {
        let _ = write!(bar, "<span class=\"s{at}\">{name} {time:.2} ms</span> ");
    }
    bar.push_str("</p></figure>\n");
    bar
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Milliseconds; shorter ones show how threads are scheduled rather than how a migration goes.
const RATE_WINDOW: f64 = 50.0;

const STYLE: &str = include_str!("style.css");

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, guest_bytes: u64) -> Sample {
        Sample {
            at,
            guest_bytes,
            ..Sample::default()
        }
    }

    #[test]
    fn rates_are_per_second() {
        let samples = [
            sample(0.0, 0),
            sample(10.0, 5),
            sample(100.0, 50),
            sample(200.0, 250),
        ];
        let points = per_second(&samples, |sample| sample.guest_bytes as f64);
        assert_eq!(points, [(100.0, 500.0), (200.0, 2000.0)]);
        assert_eq!(per_second(&[], |_| 0.0), []);
    }

    #[test]
    fn text_stays_text() {
        let page = html(&["<script>&\"".into()], &[]);
        assert!(page.contains("<p>&lt;script&gt;&amp;&quot;</p>"));
    }
}
