// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! All that is known of a host.

use multifd_core::MethodOptions;
use serde::Serialize;

use super::finding::{Finding, Problem, Status};
use super::host::{Access, Host};
use super::iaa::IaaDevice;
use super::iommu::{Iommu, SharedMemory};
use super::library::{self, Found, Library};
use super::memory::Memory;
use super::pci::Function;
use super::processor::Processor;
use super::qat::{Package, QatDevice, QatHost};
use super::qatlib::Service;
use super::uadk::ZipDevice;

/// What a host has.
pub(crate) struct Survey {
    qat: Vec<QatDevice>,
    package: Package,
    vfio: Access,
    service: Service,
    iaa: Vec<IaaDevice>,
    zip: Vec<ZipDevice>,
    iommu: Iommu,
    libraries: Vec<(Library, Option<Found>)>,
    memory: Memory,
    processor: Processor,
    unreadable: Vec<String>,
}

/// Accelerators that methods can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Devices {
    pub(crate) qat: usize,
    pub(crate) iaa: usize,
    pub(crate) zip: usize,
    /// Whether devices work with a process's addresses.
    pub(crate) shared_memory: bool,
}

impl Devices {
    pub(crate) fn any(&self) -> bool {
        self.qat + self.iaa + self.zip > 0
    }
}

/// What stands between a method and its accelerator.
pub(crate) enum Readiness {
    /// The host has no such device.
    NoDevice,
    /// It has devices, and the method can use so many of them.
    Ready(usize),
    /// It has so many devices, and something is in the way.
    NotReady(usize, Problem),
}

impl Survey {
    /// `options`: where libraries are, if they are elsewhere than usual.
    pub(crate) fn of(host: &Host, options: &MethodOptions) -> Self {
        let functions = Function::all(host);
        let find = |library: Library| (library, library.find(host, options));
        Self {
            qat: QatDevice::all(host, &functions),
            package: Package::of(host),
            vfio: host.access("dev/vfio/vfio"),
            service: Service::of(host),
            iaa: IaaDevice::all(host, &functions),
            zip: ZipDevice::all(host, &functions),
            iommu: Iommu::of(host),
            libraries: LIBRARIES.map(find).into(),
            memory: Memory::of(host),
            processor: Processor::of(host),
            unreadable: host.unreadable(),
        }
    }

    /// How far QATzip is from using a QAT device.
    pub(crate) fn qatzip(&self) -> Readiness {
        let host = self.qat_host();
        let devices = self.qat.iter().map(|device| device.usable(&host));
        Readiness::of(devices.collect(), || {
            self.need(&[library::QATZIP, library::QAT, library::USDM])?;
            self.memory.enough_lockable(self.lockers())
        })
    }

    /// How far QPL is from using an IAA device.
    pub(crate) fn qpl(&self) -> Readiness {
        let devices = self.iaa.iter().map(|device| device.usable(&self.iommu));
        Readiness::of(devices.collect(), || {
            if !self.processor.can_enqueue() {
                return Err(Problem::new(
                    "the processor's flags lack enqcmd",
                    "use kernel 5.18 or newer, with intel_iommu=on,sm_on",
                ));
            }
            self.need(&[library::QPL, library::ACCEL_CONFIG])
        })
    }

    /// How far UADK is from using a ZIP device.
    pub(crate) fn uadk(&self) -> Readiness {
        let devices = self.zip.iter().map(ZipDevice::usable);
        Readiness::of(devices.collect(), || {
            self.need(&[library::WD, library::WD_COMP])
        })
    }

    /// How many accelerators methods can use.
    pub(crate) fn devices_ready(&self) -> Devices {
        Devices {
            qat: self.qatzip().devices(),
            iaa: self.qpl().devices(),
            zip: self.uadk().devices(),
            shared_memory: self.iommu.shared_memory() == SharedMemory::Possible,
        }
    }

    pub(crate) fn devices(&self) -> Vec<Finding> {
        let qat_host = self.qat_host();
        let qat = self.qat.iter().map(|device| device.finding(&qat_host));
        let iaa = self.iaa.iter().map(|device| device.finding(&self.iommu));
        let zip = self.zip.iter().map(ZipDevice::finding);
        let mut findings: Vec<_> = qat.chain(iaa).chain(zip).collect();
        for (there, name) in [
            (!self.qat.is_empty(), "QAT"),
            (!self.iaa.is_empty(), "IAA"),
            (!self.zip.is_empty(), "HiSilicon ZIP"),
        ] {
            if !there {
                findings.push(Finding::missing(name, "no device"));
            }
        }
        findings
    }

    /// `load`: what a method says when it is to load its library; of another host nothing is said.
    pub(crate) fn libraries(
        &self,
        load: impl Fn(&str) -> Option<Result<String, String>>,
    ) -> Vec<Finding> {
        let found = self.libraries.iter();
        found
            .map(|(library, found)| {
                let finding = library.finding(found.as_ref(), self.wants(*library));
                match library
                    .method
                    .filter(|_| finding.status == Status::Ok)
                    .and_then(&load)
                {
                    Some(Ok(answer)) => finding.and(&format!("loads: {answer}")),
                    Some(Err(error)) => library.refused(&error),
                    None => finding,
                }
            })
            .collect()
    }

    pub(crate) fn system(&self) -> Vec<Finding> {
        let mut findings = self.processor.findings();
        findings.extend(self.memory.findings(self.lockers()));
        let wanted_shared = !(self.iaa.is_empty() && self.zip.is_empty());
        let wanted = wanted_shared || !self.qat.is_empty();
        findings.extend(self.iommu.findings(wanted, wanted_shared));
        findings.push(self.service.finding(self.lockers() > 0));
        if !self.unreadable.is_empty() {
            let what = format!("this user may not read {}", self.unreadable.join(", "));
            let problem = Problem::new(what, "run it as root once, to see all");
            findings.push(Finding::unusable("files", &problem));
        }
        findings
    }

    /// Whether there is something that a library would be needed for.
    fn wants(&self, library: Library) -> bool {
        match library {
            library::QATZIP | library::QAT | library::USDM => !self.qat.is_empty(),
            library::QPL | library::ACCEL_CONFIG => !self.iaa.is_empty(),
            library::WD | library::WD_COMP => !self.zip.is_empty(),
            _ => true,
        }
    }

    fn need(&self, libraries: &[Library]) -> Result<(), Problem> {
        let mut needed = self.libraries.iter();
        needed.try_for_each(|(library, found)| {
            if libraries.contains(library) {
                library.need(found.as_ref())
            } else {
                Ok(())
            }
        })
    }

    fn qat_host(&self) -> QatHost<'_> {
        QatHost {
            iommu: &self.iommu,
            package: self.package,
            vfio: self.vfio,
        }
    }

    /// Devices that qatlib locks memory for.
    fn lockers(&self) -> usize {
        self.qat
            .iter()
            .filter(|device| device.is_for_qatlib())
            .count()
    }
}

impl Readiness {
    fn devices(&self) -> usize {
        match self {
            Self::Ready(devices) => *devices,
            Self::NoDevice | Self::NotReady(..) => 0,
        }
    }

    /// `devices`: what each can do. `rest`: what else is needed.
    fn of(
        devices: Vec<Result<String, Problem>>,
        rest: impl FnOnce() -> Result<(), Problem>,
    ) -> Self {
        let all = devices.len();
        let usable = devices.iter().filter(|device| device.is_ok()).count();
        match (devices.into_iter().find_map(Result::err), rest()) {
            _ if all == 0 => Self::NoDevice,
            (Some(problem), _) if usable == 0 => Self::NotReady(all, problem),
            (_, Err(problem)) => Self::NotReady(all, problem),
            _ => Self::Ready(usable),
        }
    }
}

const LIBRARIES: [Library; 8] = [
    library::QATZIP,
    library::QAT,
    library::USDM,
    library::QPL,
    library::ACCEL_CONFIG,
    library::WD,
    library::WD_COMP,
    library::ISAL,
];
