// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The lists of system calls in the documentation of `multifd-migration`, and filters made of them.

use anyhow::{Context, Result};
use multifd_tests::system_calls::allowing;
use seccompiler::BpfProgram;

const PAGE: &str = include_str!("../../../multifd-migration/src/system_calls.md");

/// What is allowed to each of these rows, together.
pub(crate) fn filter(rows: &[&str]) -> Result<BpfProgram> {
    let rows = rows.iter().map(|row| calls(row));
    allowing(rows.collect::<Result<Vec<_>>>()?.concat())
}

/// The system calls in the row that begins so.
fn calls(row: &str) -> Result<Vec<&'static str>> {
    let beginning = format!("| {row} | ");
    let line = PAGE.lines().find_map(|line| line.strip_prefix(&beginning));
    let line = line.with_context(|| format!("no row {row:?} in the documentation"))?;
    // Behind each odd one of the backticks is a name.
    Ok(line.split('`').skip(1).step_by(2).collect())
}

/// What each thread may do.
pub(crate) const EACH: &[&str] = &[
    "each of them",
    // Of the standard library's checks.
    #[cfg(debug_assertions)]
    "each, in a build with debug assertions",
];
/// What a thread does when it ends.
pub(crate) const END: &str = "each that ends";
/// What it takes to start a thread of the standard library, and what that does first.
pub(crate) const START: &[&str] = &["the one that starts another", "the one that begins"];
