// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QAT devices: from the driver to the right to open them.

use super::finding::{Finding, Problem};
use super::host::{Access, Host};
use super::iommu::Iommu;
use super::models::{INTEL, QAT, QatModel};
use super::pci::Function;

/// A QAT device: a physical function, or a virtual one that was handed to this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QatDevice {
    function: Function,
    model: QatModel,
    /// `up` or `down`, where the driver says.
    state: Option<String>,
    /// What it is set up for: `dc` is compression, `sym` and `asym` are encryption.
    services: Option<String>,
    firmware: bool,
    virtual_functions: Vec<VirtualFunction>,
}

/// A virtual function, and whether a process can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VirtualFunction {
    driver: Option<String>,
    group: Option<u64>,
    access: Access,
}

/// What does not depend on a single device.
pub(crate) struct QatHost<'a> {
    pub(crate) iommu: &'a Iommu,
    pub(crate) package: Package,
    /// The right to open what all groups of virtual functions are opened through.
    pub(crate) vfio: Access,
}

/// The devices of Intel's own driver package, which needs no virtual functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Package(pub(crate) Access);

impl QatDevice {
    /// Every device of the host, without those virtual functions that belong to one of the others.
    pub(crate) fn all(host: &Host, functions: &[Function]) -> Vec<Self> {
        let own = |function: &&Function| function.physical.is_none();
        functions
            .iter()
            .filter(own)
            .filter_map(|function| Self::read(host, function, functions))
            .collect()
    }

    fn read(host: &Host, function: &Function, functions: &[Function]) -> Option<Self> {
        let is = |model: &&QatModel| function.is(INTEL, &[model.physical, model.virtual_]);
        let model = *QAT.iter().find(is)?;
        let virtual_functions: Vec<_> = if function.device == model.virtual_ {
            vec![VirtualFunction::of(host, function)]
        } else {
            functions
                .iter()
                .filter(|other| other.physical.as_ref() == Some(&function.address))
                .map(|other| VirtualFunction::of(host, other))
                .collect()
        };
        let firmware = ["", ".xz", ".zst"];
        Some(Self {
            state: host.read(&function.file("qat/state")),
            services: host.read(&function.file("qat/cfg_services")),
            firmware: firmware
                .iter()
                .any(|end| host.exists(&format!("lib/firmware/{}{end}", model.firmware))),
            function: function.clone(),
            model,
            virtual_functions,
        })
    }

    /// Whether it compresses for processes of this user, and with what; or the first thing in the way.
    pub(crate) fn usable(&self, host: &QatHost<'_>) -> Result<String, Problem> {
        if self.is_virtual() {
            return self.usable_virtual(host);
        }
        self.check_driver()?;
        self.check_services()?;
        match host.package.0 {
            Access::Usable => return Ok("through Intel's driver package".into()),
            Access::Denied => return Err(not_allowed("/dev/qat_* and /dev/usdm_drv")),
            Access::Missing => {}
        }
        if !self.model.qatlib {
            let what = "Linux's driver serves the kernel only";
            return Err(Problem::new(what, PACKAGE));
        }
        if !host.iommu.is_on() {
            return Err(host.iommu.turn_on());
        }
        match (self.function.total_virtual, self.function.virtual_functions) {
            (None | Some(0), _) => Err(Problem::new(
                "it cannot have virtual functions",
                "turn on SR-IOV in the firmware",
            )),
            (_, 0) => Err(Problem::new("it has no virtual functions", START_QATLIB)),
            _ => self.usable_virtual(host),
        }
    }

    fn check_driver(&self) -> Result<(), Problem> {
        match (self.function.driver.as_deref(), self.model.module) {
            (Some("vfio-pci"), _) => Err(Problem::new(
                "all of it is handed to a guest (driver vfio-pci)",
                format!(
                    "give it back: driverctl unset-override {}",
                    self.function.address
                ),
            )),
            (Some(_), _) => Ok(()),
            (None, None) => Err(Problem::new("no driver", PACKAGE)),
            (None, Some(_)) if !self.firmware => Err(Problem::new(
                format!("no driver, no firmware {}", self.model.firmware),
                "install the package linux-firmware (on Debian firmware-misc-nonfree), reboot",
            )),
            (None, Some(module)) => Err(Problem::new("no driver", format!("modprobe {module}"))),
        }
    }

    fn check_services(&self) -> Result<(), Problem> {
        let folder = format!("/sys/bus/pci/devices/{}/qat", self.function.address);
        let compresses =
            |services: &String| services.split([';', ',']).any(|service| service == "dc");
        if self.services.as_ref().is_some_and(|all| !compresses(all)) {
            return Err(Problem::new(
                "it is set up for encryption, not for compression",
                "put ServicesEnabled=dc into /etc/sysconfig/qat (on Debian /etc/default/qat), \
                 systemctl restart qat",
            ));
        }
        if self.state.as_deref() == Some("down") {
            let advice = format!("echo up > {folder}/state");
            return Err(Problem::new("it is down", advice));
        }
        Ok(())
    }

    /// Whether qatlib finds a virtual function that it may open.
    fn usable_virtual(&self, host: &QatHost<'_>) -> Result<String, Problem> {
        if !self.model.qatlib {
            return match host.package.0 {
                Access::Usable => Ok("through Intel's driver package".into()),
                Access::Denied => Err(not_allowed("/dev/qat_* and /dev/usdm_drv")),
                Access::Missing => Err(Problem::new("no driver for processes", PACKAGE)),
            };
        }
        let all = &self.virtual_functions;
        let bound: Vec<_> = all.iter().filter(|one| one.is_bound()).collect();
        if bound.is_empty() {
            return Err(Problem::new(
                "no virtual function is bound to vfio-pci",
                "modprobe vfio-pci, systemctl restart qat (qatlib's service binds them)",
            ));
        }
        let with = |access| bound.iter().filter(|one| one.access == access).count();
        match (with(Access::Usable), with(Access::Denied)) {
            (0, 0) => Err(Problem::new(
                "the groups of its virtual functions are not in /dev/vfio",
                "give this container its /dev/vfio",
            )),
            (0, _) => Err(not_allowed("/dev/vfio")),
            _ if host.vfio == Access::Denied => Err(not_allowed("/dev/vfio/vfio")),
            (usable, _) => Ok(format!("{usable} virtual functions for processes")),
        }
    }

    pub(crate) fn finding(&self, host: &QatHost<'_>) -> Finding {
        let (model, address) = (self.model.name, &self.function.address);
        let kind = if self.is_virtual() {
            " (virtual function)"
        } else {
            ""
        };
        let name = format!("QAT {model} {address}{kind}");
        match self.usable(host) {
            Ok(with) => Finding::ok(name, format!("{with}; {}", self.facts())),
            Err(Problem { what, advice }) => {
                let what = format!("{what}; {}", self.facts());
                Finding::unusable(name, &Problem { what, advice })
            }
        }
    }

    /// How many processes' worth of locked memory qatlib takes: one virtual function of each device.
    pub(crate) fn is_for_qatlib(&self) -> bool {
        self.model.qatlib
    }

    fn facts(&self) -> String {
        let driver = self.function.driver.as_deref().unwrap_or("none");
        let mut facts = vec![format!("driver {driver}")];
        facts.extend(self.state.clone());
        let services = self.services.as_ref();
        facts.extend(services.map(|services| format!("services {services}")));
        if let Some(total) = self.function.total_virtual {
            let now = self.function.virtual_functions;
            facts.push(format!("{now} of {total} virtual functions"));
        }
        facts.join(", ") + &self.function.numa_text()
    }

    fn is_virtual(&self) -> bool {
        self.function.device == self.model.virtual_
    }
}

impl VirtualFunction {
    fn of(host: &Host, function: &Function) -> Self {
        let group = function.iommu_group;
        let access = match group {
            Some(group) => host.access(&format!("dev/vfio/{group}")),
            None => Access::Missing,
        };
        Self {
            driver: function.driver.clone(),
            group,
            access,
        }
    }

    fn is_bound(&self) -> bool {
        self.driver.as_deref() == Some("vfio-pci") && self.group.is_some()
    }
}

impl Package {
    pub(crate) fn of(host: &Host) -> Self {
        let files = ["dev/qat_dev_processes", "dev/usdm_drv"].map(|file| host.access(file));
        Self(if files.contains(&Access::Missing) {
            Access::Missing
        } else if files.contains(&Access::Denied) {
            Access::Denied
        } else {
            Access::Usable
        })
    }
}

fn not_allowed(what: &str) -> Problem {
    Problem::new(
        format!("this user may not open {what}"),
        "usermod -a -G qat USER, log in again",
    )
}

const START_QATLIB: &str = "systemctl enable --now qat (qatlib's service makes them)";
const PACKAGE: &str = "install Intel's QAT driver package for this device, which brings \
                       /dev/qat_dev_processes and /dev/usdm_drv";
