// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which implementation of a method did the work.

use std::collections::BTreeMap;

use multifd_core::method::{CodecPath, Fallback, PathCounts};
use serde::{Deserialize, Serialize};

/// Packets with payload, by the implementation that did them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PathsReport {
    pub(crate) hardware: u64,
    pub(crate) vendor_software: u64,
    pub(crate) software: u64,
    /// Packets that were to be done by another implementation, by the reason.
    pub(crate) fallbacks: BTreeMap<String, u64>,
}

impl PathsReport {
    pub(crate) fn new(counts: &PathCounts) -> Self {
        let fallbacks = Fallback::ALL.into_iter().filter_map(|reason| {
            let packets = counts.fallbacks(reason);
            (packets > 0).then(|| (reason.name().to_owned(), packets))
        });
        Self {
            hardware: counts.packets(CodecPath::Hardware),
            vendor_software: counts.packets(CodecPath::VendorSoftware),
            software: counts.packets(CodecPath::Software),
            fallbacks: fallbacks.collect(),
        }
    }

    /// A table's cell for both sides: `soft`, or `hw/soft` if they differ.
    pub(crate) fn cell(source: &Self, destination: &Self) -> String {
        let (source, destination) = (source.short(), destination.short());
        if source == destination {
            source
        } else {
            format!("{source}/{destination}")
        }
    }

    /// The implementations that did packets, a `!` after them if any packet fell back.
    fn short(&self) -> String {
        let mut used = Vec::new();
        for (packets, name) in [
            (self.hardware, "hw"),
            (self.vendor_software, "vendor"),
            (self.software, "soft"),
        ] {
            if packets > 0 {
                used.push(name);
            }
        }
        if used.is_empty() {
            return "-".to_owned();
        }
        let mark = if self.fallbacks.is_empty() { "" } else { "!" };
        used.join("+") + mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_what_really_happened() {
        let mut counts = PathCounts::default();
        let idle = PathsReport::new(&counts);
        counts.count(CodecPath::Software);
        let soft = PathsReport::new(&counts);
        counts.count(CodecPath::Hardware);
        counts.fell_back(Fallback::Busy);
        let mixed = PathsReport::new(&counts);
        assert_eq!(mixed.fallbacks, BTreeMap::from([("busy".to_owned(), 1)]));
        assert_eq!(PathsReport::cell(&idle, &idle), "-");
        assert_eq!(PathsReport::cell(&soft, &soft), "soft");
        assert_eq!(PathsReport::cell(&mixed, &soft), "hw+soft!/soft");
    }
}
