// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A link whose rate changes in the middle.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use multifd_tests::measured::{Sample, median, micros};

use crate::bench::Bench;
use crate::choice::Choice;
use crate::content::{Content, Contents};
use crate::link::Link;

#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArgs {
    /// Rates before and after, in Gbit/s
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10:1,1:10,2.5:0.25,0.25:2.5"
    )]
    changes: Vec<Change>,
    /// Seconds before the change
    #[arg(long, default_value_t = 2.0)]
    before: f64,
    /// Seconds after it that are looked at
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(2..=60))]
    after: u64,
    /// How often the guest has the memory: each time is a block of its own. It has to last for both
    #[arg(long, default_value_t = 8)]
    blocks: usize,
    /// Runs of each that count
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    before: f64,
    after: f64,
}

impl std::str::FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rates = text.split_once(':').ok_or("wanted BEFORE:AFTER")?;
        match (rates.0.parse()?, rates.1.parse()?) {
            (Link::Rate(before), Link::Rate(after)) => Ok(Self { before, after }),
            _ => Err("only a link between two hosts has a rate that changes".into()),
        }
    }
}

impl ChangeArgs {
    pub(crate) fn run(&self, bench: &Bench, contents: &Contents) -> Result<()> {
        ensure!(self.runs > 0, "--runs is 0");
        let bytes = contents.fill(&bench.arena, Content::Files)?;
        println!(
            "MB of guest memory per second, and in percent of what the best fixed choice does on the new link; the\n\
             rate changed after {} s; medians of {} runs. Settled is when all of the {} ms that begin then or later\n\
             have {:.0} % of it.\n",
            self.before,
            self.runs,
            SPAN / 1000,
            REACHED * 100.0
        );
        println!(
            "| Gbit/s | best fixed then | its MB/s | first second | next second | settled after, ms |"
        );
        println!("|---|---|---|---|---|---|");
        for change in &self.changes {
            self.row(bench, *change, bytes)?;
        }
        Ok(())
    }

    fn row(&self, bench: &Bench, change: Change, bytes: u64) -> Result<()> {
        bench.hosts.set_rate(change.after)?;
        let (best, time) = self.best_fixed(bench, Link::Rate(change.after))?;
        let best_rate = bytes as f64 / time;
        let (mut settled, mut first, mut next) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let (changed, samples) = self.changed(bench, change)?;
            let share = |from, to| rate(&samples, from, to) / best_rate;
            first.push(share(changed, changed + SECOND));
            next.push(share(changed + SECOND, changed + 2 * SECOND));
            let end = changed + self.after * SECOND - SPAN;
            let spans = (changed..end).step_by(STEP);
            let slow = spans.filter(|start| share(*start, *start + SPAN) < REACHED);
            settled.push(slow.last().map_or(0, |start| start + STEP as u64 - changed));
        }
        let percent = |shares: &[f64]| 100.0 * median(shares, |share| *share);
        println!(
            "| {} to {} | {best} | {:.0} | {:.0} % | {:.0} % | {:.0} |",
            change.before / 1e9,
            change.after / 1e9,
            best_rate / 1e6,
            percent(&first),
            percent(&next),
            median(&settled, |time| *time as f64) / 1000.0,
        );
        Ok(())
    }

    /// The fixed choice that is the fastest on this link, and the seconds that it takes for the memory once.
    fn best_fixed(&self, bench: &Bench, link: Link) -> Result<(Choice, f64)> {
        let mut best = (Choice::None, f64::INFINITY);
        for choice in Choice::FIXED {
            let mut times = Vec::new();
            for _ in 0..=self.runs {
                let run = choice.run(bench, link, 1, None)?;
                times.push(run.wall.as_secs_f64());
                // It is not going to be the best.
                if run.wall.as_secs_f64() > best.1 * 1.5 {
                    break;
                }
            }
            let time = median(&times, |time| *time);
            if time < best.1 {
                best = (choice, time);
            }
        }
        Ok(best)
    }

    /// Changes the rate in the middle of a migration; answers when, and how it went.
    fn changed(&self, bench: &Bench, change: Change) -> Result<(u64, Vec<Sample>)> {
        bench.hosts.set_rate(change.before)?;
        let link = Link::Rate(change.before);
        thread::scope(|scope| {
            let (over, is_over) = mpsc::channel::<()>();
            let changing = scope.spawn(move || {
                let waited = is_over.recv_timeout(Duration::from_secs_f64(self.before));
                ensure!(
                    waited == Err(mpsc::RecvTimeoutError::Timeout),
                    "the migration was over before the change: --blocks is too small"
                );
                bench.hosts.set_rate(change.after)?;
                micros()
            });
            let run = Choice::Adaptive.run(bench, link, self.blocks, None);
            drop(over);
            let changed = changing.join().map_err(|_| anyhow!("panicked"))?;
            let (run, changed) = (run?, changed?);
            let last = run.samples.last().context("no samples")?.at;
            ensure!(
                last >= changed + self.after * SECOND,
                "the migration was over too soon after the change: --blocks is too small"
            );
            Ok((changed, run.samples))
        })
    }
}

/// Bytes of guest memory per second between two moments.
fn rate(samples: &[Sample], from: u64, to: u64) -> f64 {
    let at = |moment: u64| {
        let later = samples.partition_point(|sample| sample.at < moment);
        let after = samples.get(later).or(samples.last());
        let before = samples.get(later.saturating_sub(1)).or(after);
        let (Some(before), Some(after)) = (before, after) else {
            return 0.0;
        };
        let time = after.at.saturating_sub(before.at).max(1) as f64;
        let part = (moment.saturating_sub(before.at) as f64 / time).min(1.0);
        before.guest_bytes as f64 + (after.guest_bytes - before.guest_bytes) as f64 * part
    };
    (at(to) - at(from)) / (to - from) as f64 * 1e6
}

/// Microseconds.
const SECOND: u64 = 1_000_000;
/// So long that memory of all kinds passes by.
const SPAN: u64 = 400_000;
const STEP: usize = 20_000;
const REACHED: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_between_samples() {
        let samples = [(0, 0), (100, 1000), (200, 4000)];
        let samples = samples.map(|(at, guest_bytes)| Sample { at, guest_bytes });
        assert_eq!(rate(&samples, 0, 200), 20e6);
        assert_eq!(rate(&samples, 50, 150), 20e6);
        assert_eq!(rate(&samples, 100, 150), 30e6);
    }
}
