// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the guest does.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// What the guest writes, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Pages per second that all vCPUs write to together; `None` is as fast as they can.
    pub rate: Option<NonZeroU64>,
    /// The order of the pages.
    pub pattern: Pattern,
    /// Bytes of the part of memory that it writes to.
    pub working_set: u64,
}

/// In which order the guest writes to its pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pattern {
    /// One after the other, again and again.
    Sequential,
    /// At random.
    #[default]
    Random,
    /// At random, seven times of eight in the first eighth.
    Hot,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sequential, Self::Random, Self::Hot];

    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Random => "random",
            Self::Hot => "hot",
        }
    }

    /// Its number in the guest's control blocks.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Sequential => 0,
            Self::Random => 1,
            Self::Hot => 2,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|pattern| pattern.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{text:?} is no pattern, wanted one of {names}")
        })
    }
}
