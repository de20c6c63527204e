// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The accelerators that are known by their PCI numbers.
//!
//! The numbers are those of Linux's drivers (`include/linux/pci_ids.h`, `drivers/crypto/intel/qat`,
//! `drivers/dma/idxd`, `drivers/crypto/hisilicon/zip`); those of QAT devices that Linux has no driver
//! for are Intel's, from its driver package.

/// A family of QAT devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QatModel {
    pub(crate) name: &'static str,
    /// Number of a physical function.
    pub(crate) physical: u16,
    /// Number of a virtual function.
    pub(crate) virtual_: u16,
    /// Linux's module; `None` if only Intel's driver package has one.
    pub(crate) module: Option<&'static str>,
    /// The firmware that the module loads, in `/lib/firmware`.
    pub(crate) firmware: &'static str,
    /// Whether qatlib can use it, through `vfio-pci`. Older devices need Intel's driver package.
    pub(crate) qatlib: bool,
}

/// Every known QAT device.
pub(crate) const QAT: [QatModel; 11] = [
    older("dh895xcc", 0x0435, Some("qat_dh895xcc"), "qat_895xcc.bin").with_virtual(0x0443),
    older("c4xxx", 0x18a0, None, "qat_c4xxx.bin"),
    older("200xx", 0x18ee, None, "qat_200xx.bin"),
    older("c3xxx", 0x19e2, Some("qat_c3xxx"), "qat_c3xxx.bin"),
    older("c62x", 0x37c8, Some("qat_c62x"), "qat_c62x.bin"),
    older("d15xx", 0x6f54, None, "qat_d15xx.bin"),
    newer("4xxx", 0x4940, "qat_4xxx", "qat_4xxx.bin"),
    newer("401xx", 0x4942, "qat_4xxx", "qat_4xxx.bin"),
    newer("402xx", 0x4944, "qat_4xxx", "qat_402xx.bin"),
    newer("420xx", 0x4946, "qat_420xx", "qat_420xx.bin"),
    newer("6xxx", 0x4948, "qat_6xxx", "qat_6xxx.bin"),
];

/// IAA devices, by the processors that have them: Sapphire, Emerald and Granite Rapids; Diamond
/// Rapids; Panther Lake; Wildcat Lake.
pub(crate) const IAA: [u16; 4] = [0x0cfe, 0x1216, 0xb02d, 0xfd2d];

/// HiSilicon ZIP: a physical and a virtual function.
pub(crate) const ZIP: [u16; 2] = [0xa250, 0xa251];

pub(crate) const INTEL: u16 = 0x8086;
pub(crate) const HUAWEI: u16 = 0x19e5;

const fn older(
    name: &'static str,
    physical: u16,
    module: Option<&'static str>,
    firmware: &'static str,
) -> QatModel {
    QatModel {
        name,
        physical,
        virtual_: physical + 1,
        module,
        firmware,
        qatlib: false,
    }
}

const fn newer(
    name: &'static str,
    physical: u16,
    module: &'static str,
    firmware: &'static str,
) -> QatModel {
    QatModel {
        qatlib: true,
        ..older(name, physical, Some(module), firmware)
    }
}

impl QatModel {
    const fn with_virtual(self, virtual_: u16) -> Self {
        Self { virtual_, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_two_things() {
        let mut numbers: Vec<_> = QAT
            .iter()
            .flat_map(|model| [model.physical, model.virtual_])
            .chain(IAA)
            .collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }
}
