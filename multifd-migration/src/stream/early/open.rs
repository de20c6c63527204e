// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The sections that have begun.

use std::collections::HashMap;

use super::super::Problem;
use super::super::section::SectionHeader;
use super::head::{MAX_EARLY_DEVICES, SectionHead, SectionKind};

/// The sections that are not RAM's, as far as they have begun.
#[derive(Debug, Default)]
pub(in super::super) struct OpenSections {
    /// Those that may be continued, by their ids.
    by_id: HashMap<u32, SectionHead>,
    /// How many have all of a device's state.
    full: usize,
}

impl OpenSections {
    /// Whether a section with this id may be continued.
    pub(in super::super) fn contains(&self, id: u32) -> bool {
        self.by_id.contains_key(&id)
    }

    /// How many have all of a device's state.
    pub(in super::super) fn full(&self) -> usize {
        self.full
    }

    /// A START or FULL section begins.
    pub(in super::super) fn begin(
        &mut self,
        kind: SectionKind,
        header: SectionHeader,
    ) -> Result<SectionHead, Problem> {
        let head = SectionHead {
            kind,
            id: header.id,
            idstr: header.idstr,
            instance: header.instance,
            version: header.version,
        };
        if self.contains(head.id) {
            return Err(begins_twice());
        }
        let count = self.by_id.len().saturating_add(self.full);
        if count >= MAX_EARLY_DEVICES {
            return Err(Problem::TooMany {
                what: "the number of devices before the end of RAM",
                got: count as u64 + 1,
                max: MAX_EARLY_DEVICES as u64,
            });
        }
        if kind == SectionKind::Full {
            self.full += 1;
        } else {
            self.by_id.insert(head.id, head.clone());
        }
        Ok(head)
    }

    /// A PART or END section begins; `None` if there is none that it continues.
    pub(in super::super) fn resume(&mut self, kind: SectionKind, id: u32) -> Option<SectionHead> {
        let head = match kind {
            SectionKind::End => self.by_id.remove(&id)?,
            _ => self.by_id.get(&id)?.clone(),
        };
        Some(SectionHead { kind, ..head })
    }
}

/// An id that another section has.
pub(in super::super) fn begins_twice() -> Problem {
    let (what, when) = ("a section's id", "begins twice");
    Problem::Order { what, when }
}
