// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Medians of runs, and what QEMU took in multiples of ours.

use std::time::Duration;

use migration_params::Compression;

use multifd_tests::measured::{Run, median};

use crate::rival::Rival;

/// What counts of a comparison.
#[derive(Default)]
pub(crate) struct Runs {
    pub(crate) theirs: Vec<Run>,
    pub(crate) own: Vec<Run>,
    /// Ours with ISA-L.
    pub(crate) isal: Vec<Run>,
    /// The system calls alone.
    pub(crate) bare: Vec<Run>,
    /// Ours without TLS, if the others are with it.
    pub(crate) plain: Vec<Run>,
    /// What the cipher takes, on both sides together.
    pub(crate) cipher: Vec<Duration>,
}

/// Prints the head of the table, which is one of Markdown.
pub(crate) fn print_head() {
    println!(
        "| method | who | wall s | send CPU s | recv CPU s | CPU s | bytes of used |\n{}|",
        "|---".repeat(7)
    );
}

/// Prints one method's rows. `non_zero` is how many bytes of the guest's pages are not zero.
pub(crate) fn print(ours: Compression, rival: Rival<'_>, runs: &Runs, non_zero: u64) {
    let row = |who: &str, medians: &Medians| medians.print(ours, who, non_zero);
    let own = Medians::of(&runs.own);
    let theirs = (!runs.theirs.is_empty()).then(|| Medians::of(&runs.theirs));
    let (who, short) = match rival {
        Rival::Qemu(method) if method == ours => ("QEMU".to_owned(), "QEMU"),
        Rival::Qemu(method) => (format!("QEMU {method}"), "QEMU"),
        Rival::Libqpl(_) => ("libqpl".to_owned(), "libqpl"),
    };
    if let Some(theirs) = &theirs {
        row(&who, theirs);
    }
    row("ours", &own);
    if let Some(theirs) = &theirs {
        theirs.print_ratio(ours, &format!("{short} / ours"), &own);
    }
    if !runs.isal.is_empty() {
        let isal = Medians::of(&runs.isal);
        row("ours, ISA-L", &isal);
        if let Some(theirs) = &theirs {
            theirs.print_ratio(ours, &format!("{short} / ours, ISA-L"), &isal);
        }
    }
    if !runs.bare.is_empty() {
        let bare = Medians::of(&runs.bare);
        row("system calls alone", &bare);
        own.print_ratio(ours, "ours / system calls alone", &bare);
    }
    if !runs.plain.is_empty() {
        let plain = Medians::of(&runs.plain);
        row("ours without TLS", &plain);
        print_price(ours, own.cpu - plain.cpu, &runs.cipher);
    }
}

/// Prints what TLS takes beside the same migration without it, and what of that is the cipher's.
fn print_price(ours: Compression, price: f64, cipher: &[Duration]) {
    let cipher = median(cipher, Duration::as_secs_f64);
    let ratio = price / cipher;
    println!("| {ours} | TLS | | | | {price:.2} | |");
    println!("| {ours} | AES-256-GCM alone | | | | {cipher:.2} | |");
    println!("| {ours} | **TLS / AES-256-GCM alone** | | | | **{ratio:.2}** | |");
}

struct Medians {
    wall: f64,
    send: f64,
    recv: f64,
    cpu: f64,
    bytes: f64,
}

impl Medians {
    fn of(runs: &[Run]) -> Self {
        let seconds = |time: fn(&Run) -> Duration| median(runs, |run| time(run).as_secs_f64());
        Self {
            wall: seconds(|run| run.wall),
            send: seconds(|run| run.send_cpu),
            recv: seconds(|run| run.recv_cpu),
            cpu: seconds(|run| run.send_cpu + run.recv_cpu),
            bytes: median(runs, |run| run.bytes as f64),
        }
    }

    fn print(&self, method: Compression, who: &str, non_zero: u64) {
        println!(
            "| {method} | {who} | {:.3} | {:.2} | {:.2} | {:.2} | {:.3} |",
            self.wall,
            self.send,
            self.recv,
            self.cpu,
            self.bytes / non_zero as f64
        );
    }

    /// Prints these figures in multiples of others.
    fn print_ratio(&self, method: Compression, who: &str, others: &Self) {
        println!(
            "| {method} | **{who}** | **{:.2}** | {:.2} | {:.2} | **{:.2}** | {:.3} |",
            self.wall / others.wall,
            self.send / others.send,
            self.recv / others.recv,
            self.cpu / others.cpu,
            self.bytes / others.bytes
        );
    }
}
