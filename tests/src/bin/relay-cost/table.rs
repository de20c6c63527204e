// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Medians, and what they are beside the first.

use crate::way::{Time, WAYS};

/// The runs of one way.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    down: Vec<u64>,
    total: Vec<u64>,
}

impl Figures {
    pub(crate) fn add(&mut self, time: Time) {
        self.down.push(time.down);
        self.total.push(time.total);
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<16} {:<18} {:>14} {:>12} {:>9} {:>6} {:>14}",
        "guest", "way", "down time (ms)", "range", "more (ms)", "ratio", "total (ms)"
    );
}

/// Prints the rows of one guest, one for each way.
pub(crate) fn print(guest: &str, figures: &[Figures]) {
    let direct = figures.first().map_or(0, |first| median(&first.down));
    for (way, figures) in WAYS.iter().zip(figures) {
        let down = median(&figures.down);
        let (least, most) = (figures.down.iter().min(), figures.down.iter().max());
        println!(
            "{:<16} {:<18} {:>14} {:>12} {:>9.0} {:>6.2} {:>14}",
            guest,
            way.name,
            down,
            format!("{}..{}", least.unwrap_or(&0), most.unwrap_or(&0)),
            down as f64 - direct as f64,
            down as f64 / direct.max(1) as f64,
            median(&figures.total)
        );
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
