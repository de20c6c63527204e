//! Running cases.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, Row, cases, lab};

/// One migration, or a pair of them, with real QEMUs.
pub struct Case {
    /// Cases of one group are one test.
    pub group: &'static str,
    /// What it is.
    pub row: Row,
    run: Box<Run>,
}

type Run = dyn Fn(&Lab) -> Result<Vec<&'static str>> + Send + Sync;

/// What came of a case that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was verified, in the words of the table.
    Verified(Vec<&'static str>),
    /// This machine lacks a QEMU for it.
    Skipped,
}

impl Case {
    /// A case; `run` answers what it has verified, in the words of the table.
    pub fn new(
        group: &'static str,
        row: Row,
        run: impl Fn(&Lab) -> Result<Vec<&'static str>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            group,
            row,
            run: Box::new(run),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What went wrong, with the case's name.
    pub fn run(&self, lab: &Lab) -> Result<Outcome> {
        if self.row.peers.need_old() && !lab.has_old() {
            return Ok(Outcome::Skipped);
        }
        let verified = (self.run)(lab).with_context(|| self.row.name())?;
        ensure!(!verified.is_empty(), "{} verifies nothing", self.row.name());
        Ok(Outcome::Verified(verified))
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.group, self.row.name())
    }
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
            Ok(Outcome::Skipped) => "skipped, no old QEMU",
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
