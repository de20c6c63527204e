// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What devices have sent before the end of the memory, in a line.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use multifd_migration::stream::EarlyPart;
use serde::{Deserialize, Serialize};

/// Counts what devices send before the end of the memory.
#[derive(Debug, Default)]
pub(crate) struct EarlyTotals {
    devices: BTreeMap<String, Counts>,
    /// Whose section it is that has begun.
    current: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    sections: u64,
    bytes: u64,
}

/// What a device has sent before the end of the memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EarlyReport {
    pub(crate) name: String,
    pub(crate) sections: u64,
    /// Of its state.
    pub(crate) bytes: u64,
}

impl EarlyTotals {
    /// Counts the next piece.
    pub(crate) fn note(&mut self, part: EarlyPart<'_>) {
        if let EarlyPart::Start { head, .. } = part {
            self.current.clone_from(&head.idstr);
            self.devices.entry(head.idstr.clone()).or_default().sections += 1;
        }
        if let (EarlyPart::Data(data), Some(counts)) = (part, self.devices.get_mut(&self.current)) {
            counts.bytes = counts.bytes.saturating_add(data.len() as u64);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// By name.
    pub(crate) fn report(&self) -> Vec<EarlyReport> {
        let devices = self.devices.iter().map(|(name, counts)| EarlyReport {
            name: name.clone(),
            sections: counts.sections,
            bytes: counts.bytes,
        });
        devices.collect()
    }
}

impl Display for EarlyTotals {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let devices = self.devices.iter().take(SHOWN);
        for (number, (name, counts)) in devices.enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            let (name, bytes) = (name.escape_debug(), counts.bytes);
            write!(f, "{comma}{name} {bytes} bytes")?;
        }
        match self.devices.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Devices that are named.
const SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use multifd_migration::stream::{EarlyPlace, SectionHead, SectionKind};

    use super::*;

    #[test]
    fn it_is_said_of_each_device_how_much_there_was() {
        let mut totals = EarlyTotals::default();
        assert!(totals.is_empty());
        let mut note = |name: &str, data: &[&[u8]]| {
            let head = SectionHead {
                kind: SectionKind::Part,
                id: 3,
                idstr: name.into(),
                instance: 0,
                version: 1,
            };
            let place = EarlyPlace::BesideRam;
            totals.note(EarlyPart::Start { head: &head, place });
            for data in data {
                totals.note(EarlyPart::Data(data));
            }
            totals.note(EarlyPart::End);
        };
        note("b\u{1b}", &[&[1; 7], &[2; 3]]);
        note("a", &[]);
        note("b\u{1b}", &[&[1; 90]]);
        assert_eq!(totals.to_string(), "a 0 bytes, b\\u{1b} 100 bytes");
        let report = totals.report();
        assert_eq!((report[1].sections, report[1].bytes), (2, 100));
        for number in 0..100 {
            totals.devices.insert(number.to_string(), Counts::default());
        }
        assert!(totals.to_string().ends_with("bytes and 82 more"));
    }
}
