// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Each fixed choice and the adaptive one, on links that stay as they are.

use anyhow::{Context as _, Result, ensure};
use clap::{ValueEnum as _, builder::PossibleValue};
use multifd_tests::measured::{Run, median};
use multifd_tests::peer::{Binary, Qemu};

use crate::bench::Bench;
use crate::choice::Choice;
use crate::content::{Content, Contents};
use crate::link::Link;

#[derive(Debug, clap::Args)]
pub(crate) struct FixedArgs {
    /// Rates of the link in Gbit/s, or `unlimited`
    #[arg(long, value_delimiter = ',', default_value = "0.25,1,2.5,10,unlimited")]
    links: Vec<Link>,
    /// What is in the memory
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Content::Files, Content::Random, Content::Changing])]
    contents: Vec<Content>,
    /// Runs of each that count; one more comes before
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Without QEMUs
    #[arg(long)]
    no_qemu: bool,
}

impl FixedArgs {
    pub(crate) fn run(&self, bench: &Bench, contents: &Contents) -> Result<()> {
        ensure!(self.runs > 0, "--runs is 0");
        let qemu = match (self.no_qemu, Qemu::available()) {
            (true, _) => None,
            (false, Ok(binary)) => Some(binary),
            (false, Err(reason)) => anyhow::bail!("{reason}; --no-qemu does without"),
        };
        println!(
            "Seconds, and CPU seconds of both ends; medians of {} runs, of those with ~ one run: they were\n\
             far from the best.\n",
            self.runs
        );
        let fixed = Choice::FIXED.map(|choice| choice.to_string()).join(" | ");
        println!(
            "| Gbit/s | memory | {fixed} | adaptive | of the best fixed | QEMU zstd 1 | of QEMU | chosen |"
        );
        println!("|{}", "---|".repeat(Choice::FIXED.len() + 7));
        for link in &self.links {
            if let Link::Rate(bits) = link {
                bench.hosts.set_rate(*bits)?;
            }
            for content in &self.contents {
                contents.fill(&bench.arena, *content)?;
                let cell = self.cell(bench, *link, qemu.as_ref())?;
                cell.print(*link, *content)?;
            }
        }
        Ok(())
    }

    /// Runs all choices in turn, those that are far from the best only once.
    fn cell(&self, bench: &Bench, link: Link, qemu: Option<&Binary>) -> Result<Cell> {
        let run = |choice: Choice| choice.run(bench, link, 1, qemu);
        let (mut fixed, mut adaptive, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for choice in Choice::FIXED {
            fixed.push((choice, vec![run(choice)?]));
        }
        run(Choice::Adaptive)?;
        if qemu.is_some() {
            run(Choice::Qemu)?;
        }
        let first = |runs: &[Run]| median(runs, |run| run.wall.as_secs_f64());
        let times = fixed.iter().map(|(_, runs)| first(runs));
        let far = times.fold(f64::INFINITY, f64::min) * FAR;
        let close: Vec<bool> = fixed.iter().map(|(_, runs)| first(runs) < far).collect();
        for turn in 0..self.runs {
            for ((choice, runs), close) in fixed.iter_mut().zip(&close) {
                if *close && turn == 0 {
                    // The first one does not count.
                    runs.clear();
                }
                if *close {
                    runs.push(run(*choice)?);
                }
            }
            adaptive.push(run(Choice::Adaptive)?);
            if qemu.is_some() {
                theirs.push(run(Choice::Qemu)?);
            }
        }
        Ok(Cell {
            fixed: fixed.into_iter().map(|(_, runs)| runs).zip(close).collect(),
            adaptive,
            theirs,
        })
    }
}

/// The runs on one link with one kind of memory.
struct Cell {
    /// Of each choice, and whether it is close to the best.
    fixed: Vec<(Vec<Run>, bool)>,
    adaptive: Vec<Run>,
    theirs: Vec<Run>,
}

impl Cell {
    fn print(&self, link: Link, content: Content) -> Result<()> {
        let content = content.to_possible_value();
        let content = content.as_ref().map_or("", PossibleValue::get_name);
        let wall = |runs: &[Run]| median(runs, |run| run.wall.as_secs_f64());
        let cpu = |runs: &[Run]| median(runs, |run| (run.send_cpu + run.recv_cpu).as_secs_f64());
        let text = |runs: &[Run]| format!("{:.2} / {:.1}", wall(runs), cpu(runs));
        let mut row = vec![link.to_string(), content.to_owned()];
        let walls = self.fixed.iter().map(|(runs, _)| wall(runs));
        let best = walls.fold(f64::INFINITY, f64::min);
        for (runs, close) in &self.fixed {
            let about = if *close { "" } else { "~" };
            row.push(match wall(runs) <= best {
                true => format!("**{}**", text(runs)),
                false => format!("{about}{}", text(runs)),
            });
        }
        let adaptive = wall(&self.adaptive);
        row.push(text(&self.adaptive));
        row.push(format!("**{:.2}**", adaptive / best));
        match self.theirs.is_empty() {
            true => row.extend(["", ""].map(str::to_owned)),
            false => {
                row.push(text(&self.theirs));
                row.push(format!("{:.2}", adaptive / wall(&self.theirs)));
            }
        }
        row.push(chosen(self.adaptive.last().context("no run")?));
        println!("| {} |", row.join(" | "));
        Ok(())
    }
}

/// The share of the guest's bytes of each rung, from 2 % on.
fn chosen(run: &Run) -> String {
    let all: u64 = run.rungs.iter().map(|(_, bytes)| bytes).sum();
    let shares = run.rungs.iter().map(|(name, bytes)| {
        let percent = 100.0 * *bytes as f64 / all.max(1) as f64;
        (percent >= 2.0).then(|| format!("{name}: {percent:.0} %"))
    });
    shares.flatten().collect::<Vec<_>>().join(", ")
}

/// A choice that takes this much longer than the best in the first turn is not going to be the best.
const FAR: f64 = 1.5;
