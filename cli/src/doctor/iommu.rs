// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The IOMMU, and whether devices can share a process's addresses.

use super::finding::{Finding, Problem};
use super::host::Host;

/// What is known of the IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Iommu {
    /// Its units: `dmar0`, `ivhd0`, `smmu3.0x...`.
    units: Vec<String>,
    /// How many groups devices are in; 0 if it is off.
    groups: usize,
    /// What the kernel's command line says of it.
    words: Vec<String>,
    /// Whether a unit of Intel's can translate with a process's tables; `None` without one. Those that
    /// accelerators are behind can, where others cannot.
    capable: Option<bool>,
    arm: bool,
}

/// Whether devices can work with a process's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SharedMemory {
    /// As far as the units and the command line say; a device's driver has the last word.
    Possible,
    No(Problem),
}

impl Iommu {
    pub(crate) fn of(host: &Host) -> Self {
        let units = host.names("sys/class/iommu");
        let words = host.read("proc/cmdline").unwrap_or_default();
        let is_about = |word: &&str| word.contains("iommu");
        let ecaps: Vec<_> = units.iter().filter_map(|unit| ecap(host, unit)).collect();
        Self {
            groups: host.names("sys/kernel/iommu_groups").len(),
            words: words.split(' ').filter(is_about).map(Into::into).collect(),
            capable: (!ecaps.is_empty())
                .then(|| ecaps.iter().any(|ecap| ecap & SVM_BITS == SVM_BITS)),
            arm: units.iter().any(|unit| unit.starts_with("smmu")),
            units,
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.groups > 0
    }

    /// What to do where a device needs an IOMMU and there is none.
    pub(crate) fn turn_on(&self) -> Problem {
        Problem::new(
            "the IOMMU is off",
            "turn on VT-d in the firmware, add intel_iommu=on to the kernel's command line, reboot",
        )
    }

    pub(crate) fn shared_memory(&self) -> SharedMemory {
        let set = |what: &str| {
            let advice = "add intel_iommu=on,sm_on to the kernel's command line, reboot";
            SharedMemory::No(Problem::new(what, advice))
        };
        match self.capable {
            _ if !self.is_on() => set("the IOMMU is off"),
            Some(false) => SharedMemory::No(Problem::new(
                "the IOMMU lacks scalable mode or process address spaces",
                "use a method that needs no shared virtual memory: qatzip",
            )),
            Some(true) if self.says("sm_off") => set("the kernel's command line has sm_off"),
            Some(true) => SharedMemory::Possible,
            None if self.arm => SharedMemory::Possible,
            None => SharedMemory::No(Problem::new(
                "the IOMMU does not say that it can",
                "use a method that needs no shared virtual memory: qatzip",
            )),
        }
    }

    /// `wanted`: whether a device needs it, and whether one needs shared memory.
    pub(crate) fn findings(&self, wanted: bool, wanted_shared: bool) -> [Finding; 2] {
        let words = if self.words.is_empty() {
            String::new()
        } else {
            format!(", command line: {}", self.words.join(" "))
        };
        let iommu = if self.is_on() {
            let (groups, units) = (self.groups, self.units.len());
            Finding::ok(IOMMU, format!("{groups} groups, {units} units{words}"))
        } else if wanted {
            let what = format!("off, processes cannot have devices{words}");
            Finding::missing(IOMMU, what).advice(self.turn_on().advice)
        } else {
            Finding::missing(IOMMU, format!("off, no device needs it{words}"))
        };
        let shared = match self.shared_memory() {
            SharedMemory::Possible if self.says("sm_on") => {
                Finding::ok(SHARED, "supported, scalable mode is on")
            }
            SharedMemory::Possible => Finding::ok(SHARED, "supported"),
            SharedMemory::No(problem) if wanted_shared => Finding::unusable(SHARED, &problem),
            SharedMemory::No(problem) => {
                Finding::missing(SHARED, format!("{}, no device needs it", problem.what))
            }
        };
        [iommu, shared]
    }

    fn says(&self, word: &str) -> bool {
        self.words
            .iter()
            .flat_map(|words| words.split([',', '=']))
            .any(|part| part == word)
    }
}

/// The extended capabilities of a unit of Intel's.
fn ecap(host: &Host, unit: &str) -> Option<u64> {
    let text = host.read(&format!("sys/class/iommu/{unit}/intel-iommu/ecap"))?;
    // Without a prefix, unlike other files of sysfs.
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Process address spaces (bit 40), scalable mode (bit 43), first-stage translation (bit 47): VT-d's
/// extended capability register.
const SVM_BITS: u64 = 1 << 40 | 1 << 43 | 1 << 47;

const IOMMU: &str = "IOMMU";
const SHARED: &str = "shared virtual memory";

#[cfg(test)]
mod tests {
    use super::*;

    fn iommu(capable: Option<bool>, words: &str) -> Iommu {
        Iommu {
            units: vec!["dmar0".into()],
            groups: 3,
            words: vec![words.into()],
            capable,
            arm: false,
        }
    }

    #[test]
    fn shared_memory_needs_the_units_and_the_kernel() {
        let on = iommu(Some(true), "intel_iommu=on,sm_on");
        assert_eq!(on.shared_memory(), SharedMemory::Possible);
        for off in [
            iommu(Some(true), "intel_iommu=on,sm_off"),
            iommu(Some(false), "intel_iommu=on,sm_on"),
            iommu(None, "amd_iommu=on"),
            Iommu { groups: 0, ..on },
        ] {
            assert!(
                matches!(off.shared_memory(), SharedMemory::No(_)),
                "{off:?}"
            );
        }
        let arm = Iommu {
            arm: true,
            ..iommu(None, "")
        };
        assert_eq!(arm.shared_memory(), SharedMemory::Possible);
    }
}
