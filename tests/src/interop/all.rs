// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! All cases: run group by group, and shown as a table.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::{
    Case, Lab, Outcome, Row, failures, lab, memory, processors, relay, relay_kept, saved, tcp,
};

/// All cases, in the order of the table.
#[must_use]
pub fn cases() -> Vec<Case> {
    [
        memory::cases(),
        saved::cases(),
        tcp::cases(),
        failures::cases(),
        relay::cases(),
        relay_kept::cases(),
        processors::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs all cases of a group as one test: the others run though one has failed.
///
/// # Errors
/// All that went wrong; there is no such group; or peers are required and missing.
pub fn run_group(group: &str) -> Result<()> {
    let cases: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.group == group)
        .collect();
    ensure!(!cases.is_empty(), "no group {group}");
    let Some(lab) = lab::require()? else {
        return Ok(());
    };
    let mut failures = Vec::new();
    for case in &cases {
        let start = Instant::now();
        let result = case.run(&lab);
        let word = match &result {
            Ok(Outcome::Verified(_)) => "ok",
            Ok(Outcome::Skipped(why)) => &format!("skipped: {why}"),
            Err(_) => "FAILED",
        };
        let line = format!(
            "{}: {word} ({:.1} s)\n",
            case.row.name(),
            start.elapsed().as_secs_f64()
        );
        io::stdout().write_all(line.as_bytes())?;
        failures.extend(result.err().map(|error| format!("{error:#}")));
    }
    let count = failures.len();
    ensure!(
        count == 0,
        "{count} of {} cases failed:\n{}",
        cases.len(),
        failures.join("\n")
    );
    Ok(())
}

/// The table in Markdown: each row with what was verified.
#[must_use]
pub fn table(lab: &Lab, rows: &[(Row, Vec<&'static str>)]) -> String {
    let mut text = String::from(HEAD);
    for (row, verified) in rows {
        let columns = row.columns(&|age| lab.version(age)).join(" | ");
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {columns} | {} |", verified.join("; "));
    }
    text
}

const HEAD: &str = "\
| QEMU | `multifd` | machine | method | mode | channels | verified |
|---|---|---|---|---|---|---|
";
