// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The advice, for humans and for programs.

use std::fmt;

use serde::Serialize;

use super::choice::{Candidate, Choice};
use super::model::{Guest, Hosts};
use super::setting::{Settings, qmp_line};
use super::subject::Measured;
use crate::doctor::Devices;
use crate::show::screen;
use crate::show::table::Table;
use crate::show::units::Bytes;

/// All that was measured, predicted and chosen.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// Bytes of the guest.
    pub(crate) memory: u64,
    /// Bytes of it that the methods were tried on.
    pub(crate) sample: u64,
    pub(crate) zero_share: f64,
    pub(crate) guest: Guest,
    pub(crate) devices: Devices,
    pub(crate) measured: Measured,
    pub(crate) links: Vec<Advice>,
}

/// The advice for one link.
#[derive(Serialize)]
pub(crate) struct Advice {
    #[serde(flatten)]
    pub(crate) hosts: Hosts,
    pub(crate) candidates: Vec<Candidate>,
    /// Methods with a level chosen for each packet, by a source of this command.
    pub(crate) adaptive: Vec<Candidate>,
    pub(crate) choice: Option<Choice>,
    pub(crate) set: Option<Settings>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zero = 100.0 * self.zero_share;
        let (memory, sample) = (Bytes(self.memory), Bytes(self.sample));
        let limit = self.guest.downtime_limit * 1e3;
        writeln!(
            f,
            "{memory} of guest memory, {zero:.0} % zero pages (from a sample of {sample}), \
             written to at {}, down for at most {limit:.0} ms",
            rate(self.guest.dirty_rate)
        )?;
        if self.devices.any() {
            let Devices {
                qat,
                iaa,
                zip,
                shared_memory,
            } = self.devices;
            let shared = if shared_memory { "with" } else { "without" };
            writeln!(
                f,
                "accelerators: {qat} QAT, {iaa} IAA, {zip} ZIP, {shared} shared virtual memory"
            )?;
        }
        for link in &self.links {
            writeln!(
                f,
                "\n{}\n{}",
                link.title(),
                link.table().within(screen::columns())
            )?;
            let (Some(choice), Some(settings)) = (&link.choice, &link.set) else {
                continue;
            };
            let level = choice
                .level
                .map_or(String::new(), |level| format!(" level {level}"));
            let s = if choice.channels == 1 { "" } else { "s" };
            write!(
                f,
                "\ntake {}{level}, {} channel{s}",
                choice.method, choice.channels
            )?;
            for why in &choice.why {
                write!(f, "\n  {why}")?;
            }
            if let Some(best) = link.faster_if_adaptive() {
                let (name, says) = (best.name(), best.says());
                let channels = best.channels;
                write!(
                    f,
                    "\n  send or relay with --adapt: {name}, {channels} channels, {says}"
                )?;
            }
            write!(f, "\n\n  on both sides: {}", settings.arguments)?;
            for line in &settings.hmp {
                write!(f, "\n  (qemu) {line}")?;
            }
            for line in &settings.qmp {
                write!(f, "\n  {}", qmp_line(line))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

impl Advice {
    fn title(&self) -> String {
        let link = self.hosts.bandwidth.map_or("no limit".into(), rate);
        let cores = self.hosts.cores;
        let on = if self.hosts.shared {
            format!("{} cores for both sides", cores.send)
        } else {
            format!("{} and {} cores", cores.send, cores.recv)
        };
        format!("link: {link}, {on}")
    }

    /// What would be faster than the choice, by more than what predictions are wrong by.
    fn faster_if_adaptive(&self) -> Option<&Candidate> {
        let choice = self.choice.as_ref()?;
        let chosen = self
            .candidates
            .iter()
            .find(|one| one.method == choice.method && one.level == choice.level)?;
        let time = |one: &Candidate| one.prediction.total_time;
        let best = self
            .adaptive
            .iter()
            .min_by(|one, other| time(one).total_cmp(&time(other)))?;
        (time(best) * FASTER < time(chosen)).then_some(best)
    }

    fn table(&self) -> Table {
        let mut table = Table::new([
            "method",
            "chan-\nnels",
            "total\ntime\n(s)",
            "down-\ntime\n(ms)",
            "send\ncores\n(s)",
            "recv\ncores\n(s)",
            "ratio",
            "passes",
            "limited by",
        ]);
        for one in self.candidates.iter().chain(&self.adaptive) {
            let prediction = &one.prediction;
            let never = if prediction.converges { "" } else { "!" };
            table.row([
                one.name(),
                one.channels.to_string(),
                format!("{:.2}", prediction.total_time),
                format!("{:.0}{never}", prediction.downtime * 1e3),
                format!("{:.2}", prediction.cpu.send),
                format!("{:.2}", prediction.cpu.recv),
                format!("{:.2}", one.ratio),
                prediction.passes.to_string(),
                prediction.bound.name().into(),
            ]);
        }
        table
    }
}

/// So many times as fast is worth to be said.
const FASTER: f64 = 1.05;

/// Bytes per second, and bits for those who think of links.
fn rate(bytes: f64) -> String {
    let mib = bytes / (1024.0 * 1024.0);
    if bytes == 0.0 {
        return "0 MiB/s".into();
    }
    format!("{mib:.0} MiB/s ({:.2} Gbit/s)", bytes * 8.0 / 1e9)
}
