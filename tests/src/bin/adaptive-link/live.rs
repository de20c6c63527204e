// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest that runs and writes to its memory, with each fixed choice and the adaptive one.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::{Multifd, Running};
use multifd_tests::measured::{Hosts, median};
use serde_json::Value;

use crate::bench::Bench;
use crate::choice::Choice;
use crate::content::{Content, Contents};
use crate::link::Link;

#[derive(Debug, clap::Args)]
pub(crate) struct LiveArgs {
    /// Rates of the link in Gbit/s
    #[arg(long, value_delimiter = ',', default_value = "0.25,1,2.5,10")]
    links: Vec<Link>,
    /// Bytes that the guest makes dirty per second, with K, M or G
    #[arg(long, default_value = "64M")]
    dirty_rate: String,
    /// The part of its memory that it writes to in MiB
    #[arg(long, default_value_t = 192)]
    working_set: u64,
    /// downtime-limit in milliseconds
    #[arg(long, default_value_t = 300)]
    downtime_limit: u64,
    /// A migration that takes more seconds than this does not converge
    #[arg(long, default_value_t = 25)]
    give_up: u64,
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// What a migration took, in milliseconds.
struct Took {
    total: f64,
    down: f64,
}

impl LiveArgs {
    pub(crate) fn run(&self, bench: &Bench, contents: &Contents) -> Result<()> {
        ensure!(self.runs > 0, "--runs is 0");
        let multifd = Multifd::build()?;
        println!(
            "Total time in seconds / down time in milliseconds; medians of {} runs. The guest writes {}B per second to\n\
             {} MiB; downtime-limit is {} ms, auto-converge is off; `-` is a migration that is not over after {} s.\n",
            self.runs, self.dirty_rate, self.working_set, self.downtime_limit, self.give_up
        );
        let fixed = Choice::FIXED.map(|choice| choice.to_string()).join(" | ");
        println!("| Gbit/s | {fixed} | adaptive |");
        println!("|{}", "---|".repeat(Choice::FIXED.len() + 2));
        for link in &self.links {
            let Link::Rate(bits) = link else {
                anyhow::bail!("a guest migrates between two hosts here: no link is `unlimited`");
            };
            bench.hosts.set_rate(*bits)?;
            let choices = Choice::FIXED.into_iter().chain([Choice::Adaptive]);
            let mut row = vec![link.to_string()];
            for choice in choices {
                let run = self.choice(bench, contents, &multifd, choice);
                row.push(run.with_context(|| format!("{choice}, {link} Gbit/s"))?);
            }
            println!("| {} |", row.join(" | "));
        }
        Ok(())
    }

    /// The cell of a choice.
    fn choice(
        &self,
        bench: &Bench,
        contents: &Contents,
        multifd: &Multifd,
        choice: Choice,
    ) -> Result<String> {
        let mut took = Vec::new();
        for _ in 0..self.runs {
            // The guest has written to it.
            contents.fill(&bench.arena, Content::Files)?;
            match self.migrate(bench, multifd, choice)? {
                Some(run) => took.push(run),
                None => return Ok("-".into()),
            }
        }
        let total = median(&took, |took| took.total) / 1000.0;
        Ok(format!(
            "{total:.2} / {:.1}",
            median(&took, |took| took.down)
        ))
    }

    /// `None` if it does not converge.
    fn migrate(&self, bench: &Bench, multifd: &Multifd, choice: Choice) -> Result<Option<Took>> {
        let hosts = &bench.hosts;
        let command = |mut command: Command, memory| {
            command.args(["vm", "--json", "--quiet", "--pattern=random", "--ram"]);
            command.arg(memory);
            command.arg(format!("--dirty-rate={}", self.dirty_rate));
            command.arg(format!("--working-set={}M", self.working_set));
            for setting in self.settings(bench, choice) {
                command.args(["--set", &setting]);
            }
            command
        };
        let from = format!("tcp:{}:0", Hosts::DESTINATION);
        let there = hosts.destination_command(multifd.path());
        let mut there = command(there, &bench.arena.destination);
        let mut destination = Running::start(there.args(["--listen", &from]))?;
        let to = destination.wait_address()?;
        let mut here = command(hosts.source_command(multifd.path()), &bench.arena.source);
        here.args(["--to", &to]);
        if choice == Choice::Adaptive {
            here.arg("--adapt");
        }
        let mut source = Running::start(&mut here)?;
        let start = Instant::now();
        while source.is_running()? {
            if start.elapsed() > Duration::from_secs(self.give_up) {
                source.kill()?;
                destination.kill()?;
                return Ok(None);
            }
            std::thread::sleep(LOOK);
        }
        let report = source.finish()?.json(0)?;
        destination.finish()?.json(0)?;
        let number = |name: &str| {
            let number = report.get(name).and_then(Value::as_f64);
            number.with_context(|| format!("no {name} in {report}"))
        };
        Ok(Some(Took {
            total: number("total-time")?,
            down: number("downtime")?,
        }))
    }

    fn settings(&self, bench: &Bench, choice: Choice) -> Vec<String> {
        let mut settings = vec![
            "max-bandwidth=0".to_owned(),
            "auto-converge=off".to_owned(),
            format!("downtime-limit={}", self.downtime_limit),
            format!("multifd-channels={}", bench.channels),
        ];
        settings.extend(match choice {
            Choice::None => vec!["multifd-compression=none".to_owned()],
            Choice::Zstd(level) => vec![
                "multifd-compression=zstd".to_owned(),
                format!("multifd-zstd-level={level}"),
            ],
            Choice::Adaptive | Choice::Qemu => vec!["multifd-compression=zstd".to_owned()],
        });
        settings
    }
}

const LOOK: Duration = Duration::from_millis(20);
