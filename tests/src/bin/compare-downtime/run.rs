// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What migrations took, and the rows of the table.

use migration_params::Compression;

/// What a migration took. Times are milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Who migrated, and what its vCPU was.
    pub(crate) who: String,
    pub(crate) down: f64,
    pub(crate) total: f64,
    /// How often the dirty log was fetched.
    pub(crate) rounds: f64,
}

pub(crate) fn print_head() {
    println!(
        "{:<8} {:<14} {:>10} {:>10} {:>10} {:>8} {:>8} {:>12}",
        "method", "who", "down ms", "least", "most", "rounds", "total ms", "QEMU / this"
    );
}

/// Prints medians.
pub(crate) fn row(method: Compression, runs: &[Run], theirs: &[Run]) {
    let of = |runs: &[Run], value: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |values: &[f64]| values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    let down = of(runs, |run| run.down);
    let number = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
    println!(
        "{:<8} {:<14} {:>10.1} {:>10.1} {:>10.1} {:>8.0} {:>8.0} {:>12.2}",
        method,
        runs.first().map_or("", |run| run.who.as_str()),
        median(&down),
        number(down.first()),
        number(down.last()),
        median(&of(runs, |run| run.rounds)),
        median(&of(runs, |run| run.total)),
        median(&of(theirs, |run| run.down)) / median(&down),
    );
}
