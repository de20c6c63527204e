// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A case, and running it.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, Row};
use crate::peer;

/// One migration, or a pair of them, with real QEMUs.
pub struct Case {
    /// Cases of one group are one test.
    pub group: &'static str,
    /// What it is.
    pub row: Row,
    need: Option<Need>,
    run: Box<Run>,
}

/// What a case needs besides the QEMUs.
#[derive(Clone, Copy, Debug)]
struct Need {
    what: &'static str,
    is_there: fn() -> bool,
}

type Run = dyn Fn(&Lab) -> Result<Vec<&'static str>> + Send + Sync;

/// What came of a case that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was verified, in the words of the table.
    Verified(Vec<&'static str>),
    /// This machine lacks something for it: what that is.
    Skipped(&'static str),
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
            need: None,
            run: Box::new(run),
        }
    }

    /// The same case, which is skipped on a machine that lacks something; where peers are required it fails.
    #[must_use]
    pub fn needs(self, what: &'static str, is_there: fn() -> bool) -> Self {
        let need = Some(Need { what, is_there });
        Self { need, ..self }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What went wrong, with the case's name.
    pub fn run(&self, lab: &Lab) -> Result<Outcome> {
        for age in self.row.peers.ages() {
            if !lab.has(age)? {
                return Ok(Outcome::Skipped("no such QEMU"));
            }
        }
        if let Some(need) = self.need.filter(|need| !(need.is_there)()) {
            let (what, name) = (need.what, self.row.name());
            ensure!(!peer::are_required(), "{name} needs {what}");
            return Ok(Outcome::Skipped(what));
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
