// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Medians of runs, and what QEMU took in multiples of ours.

use std::time::Duration;

use migration_params::Compression;

use multifd_tests::measured::{Run, median};

use crate::Rival;

/// What counts of a comparison.
#[derive(Default)]
pub(crate) struct Runs {
    pub(crate) theirs: Vec<Run>,
    pub(crate) own: Vec<Run>,
    /// Ours without TLS, if the others are with it.
    pub(crate) plain: Vec<Run>,
    /// What the cipher takes, on both sides together.
    pub(crate) cipher: Vec<Duration>,
}

pub(crate) fn print_head() {
    println!(
        "{:<8} {:<12} {:>8} {:>10} {:>10} {:>10} {:>12} {:>8}",
        "method", "who", "wall s", "send cpu s", "recv cpu s", "cpu s", "bytes", "of used"
    );
}

/// Prints one method's rows. `non_zero` is how many bytes of the guest's pages are not zero.
pub(crate) fn print(ours: Compression, rival: Rival<'_>, runs: &Runs, non_zero: u64) {
    let own = Medians::of(&runs.own);
    if !runs.theirs.is_empty() {
        let theirs = Medians::of(&runs.theirs);
        let (who, short) = match rival {
            Rival::Qemu(method) if method == ours => ("QEMU".to_owned(), "QEMU"),
            Rival::Qemu(method) => (format!("QEMU {method}"), "QEMU"),
            Rival::Libqpl(_) => ("libqpl".to_owned(), "libqpl"),
        };
        theirs.print(ours, &who, non_zero);
        own.print(ours, "ours", non_zero);
        println!(
            "{:<8} {:<13} {:>7.2} {:>10.2} {:>10.2} {:>10.2} {:>12.3}",
            ours,
            format!("{short} / ours"),
            theirs.wall / own.wall,
            theirs.send / own.send,
            theirs.recv / own.recv,
            theirs.cpu / own.cpu,
            theirs.bytes / own.bytes
        );
    } else {
        own.print(ours, "ours", non_zero);
    }
    if !runs.plain.is_empty() {
        let plain = Medians::of(&runs.plain);
        plain.print(ours, "ours, no TLS", non_zero);
        print_price(ours, own.cpu - plain.cpu, &runs.cipher);
    }
}

/// Prints what TLS takes beside the same migration without it, and what of that is the cipher's.
fn print_price(ours: Compression, price: f64, cipher: &[Duration]) {
    let cipher = median(cipher, Duration::as_secs_f64);
    println!(
        "{ours:<8} TLS costs {price:.2} s of CPU time, AES-256-GCM alone {cipher:.2} s: {:.2} times that",
        price / cipher
    );
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
            "{:<8} {:<12} {:>8.3} {:>10.2} {:>10.2} {:>10.2} {:>12} {:>8.3}",
            method,
            who,
            self.wall,
            self.send,
            self.recv,
            self.cpu,
            self.bytes,
            self.bytes / non_zero as f64
        );
    }
}
