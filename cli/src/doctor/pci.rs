// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! PCI functions, from `/sys/bus/pci/devices`.

use super::host::Host;

/// One function of a PCI device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// For instance `0000:6b:00.0`.
    pub(crate) address: String,
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    /// The driver that is bound.
    pub(crate) driver: Option<String>,
    /// `None` where the firmware does not say.
    pub(crate) numa_node: Option<u64>,
    /// How many virtual functions it can have; `None` if it can have none.
    pub(crate) total_virtual: Option<u64>,
    /// How many it has.
    pub(crate) virtual_functions: u64,
    /// The address of the physical function behind a virtual one, where that can be seen.
    pub(crate) physical: Option<String>,
    /// The number of its group, if an IOMMU is in use.
    pub(crate) iommu_group: Option<u64>,
}

impl Function {
    /// Every function of the host, by address.
    pub(crate) fn all(host: &Host) -> Vec<Self> {
        let addresses = host.names(DEVICES).into_iter();
        addresses
            .filter_map(|address| Self::read(host, address))
            .collect()
    }

    fn read(host: &Host, address: String) -> Option<Self> {
        let file = |name: &str| format!("{DEVICES}/{address}/{name}");
        let number = |name: &str| host.number(&file(name));
        let id = |name: &str| number(name).and_then(|number| u16::try_from(number).ok());
        let group = host.link_name(&file("iommu_group"));
        Some(Self {
            vendor: id("vendor")?,
            device: id("device")?,
            driver: host.link_name(&file("driver")),
            // -1 where the firmware does not say.
            numa_node: number("numa_node"),
            total_virtual: number("sriov_totalvfs"),
            virtual_functions: number("sriov_numvfs").unwrap_or(0),
            physical: host.link_name(&file("physfn")),
            iommu_group: group.and_then(|group| group.parse().ok()),
            address,
        })
    }

    /// The path of a file of it.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("{DEVICES}/{}/{name}", self.address)
    }

    pub(crate) fn is(&self, vendor: u16, devices: &[u16]) -> bool {
        self.vendor == vendor && devices.contains(&self.device)
    }

    /// `, numa node 1`, or nothing.
    pub(crate) fn numa_text(&self) -> String {
        self.numa_node
            .map_or(String::new(), |node| format!(", numa node {node}"))
    }
}

const DEVICES: &str = "sys/bus/pci/devices";
