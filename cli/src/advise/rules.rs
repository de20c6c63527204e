// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which method's accelerator to take: the rules of QEMU's manual.

use serde::Serialize;

use crate::doctor::Devices;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rule {
    pub(crate) method: &'static str,
    pub(crate) why: &'static str,
}

/// The method whose accelerator to use; `None` if there is none. `link_limits`: whether pages as they
/// are wait for the link.
pub(crate) fn rule(devices: &Devices, link_limits: bool) -> Option<Rule> {
    let rule = |method, why| Some(Rule { method, why });
    match (devices.qat, devices.iaa) {
        (0, 0) if devices.zip > 0 => rule("uadk", "HiSilicon ZIP is the accelerator here"),
        (0, 0) => None,
        // QPL without shared memory is slower than software.
        (0, _) if !devices.shared_memory => None,
        (_, 0) => rule("qatzip", "QAT is the accelerator here"),
        (qat, iaa) if link_limits && qat > iaa => rule(
            "qatzip",
            "the link is the limit, and there is more QAT than IAA",
        ),
        (1.., _) if !devices.shared_memory => rule(
            "qatzip",
            "IAA needs shared virtual memory, which there is not",
        ),
        _ => rule("qpl", "IAA with shared virtual memory comes first"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_qemus_manual() {
        for (qat, iaa, shared_memory, link_limits, want) in [
            (0, 0, true, true, None),
            // 1: limited by the network, and more QAT than IAA.
            (4, 1, true, true, Some("qatzip")),
            (1, 4, true, true, Some("qpl")),
            (4, 4, true, true, Some("qpl")),
            // 2: no shared virtual memory.
            (1, 4, false, true, Some("qatzip")),
            (4, 4, false, false, Some("qatzip")),
            // 3: otherwise qpl.
            (4, 1, true, false, Some("qpl")),
            // What there is not cannot be taken.
            (1, 0, true, false, Some("qatzip")),
            (0, 1, true, true, Some("qpl")),
            (0, 1, false, true, None),
        ] {
            let devices = Devices {
                qat,
                iaa,
                zip: 0,
                shared_memory,
            };
            let method = rule(&devices, link_limits).map(|rule| rule.method);
            assert_eq!(method, want, "{devices:?}, {link_limits}");
        }
        let kunpeng = Devices {
            zip: 2,
            ..Devices::default()
        };
        assert_eq!(rule(&kunpeng, true).map(|rule| rule.method), Some("uadk"));
    }
}
