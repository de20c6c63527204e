// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How far a sender may go.

/// Choose for each packet how much to compress it, by what the link and the processors give; and how far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptConfig {
    /// The highest level that may be taken, as the method's parameter counts levels. 9 by default: what is above costs
    /// a multiple of the time for a hundredth of the bytes.
    pub max_level: u8,
    /// The most CPU time that compression may take, all channels together, in percent of one processor; `None`, the
    /// default, has no limit. What it takes to hand pages to the connections as they are is never held back.
    pub cpu_limit: Option<u32>,
}

impl Default for AdaptConfig {
    fn default() -> Self {
        Self {
            max_level: 9,
            cpu_limit: None,
        }
    }
}
