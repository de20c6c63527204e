// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Why a host's QAT devices cannot be used, as far as files tell.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The host's files, below a root.
pub(crate) struct Host<'a>(pub(crate) &'a Path);

impl Host<'_> {
    /// Whether there is a PCI function of a QAT device, physical or virtual.
    pub(crate) fn has_device(&self) -> bool {
        !self.functions().is_empty()
    }

    /// What is missing, and what to do about it. Each is a sentence; there is at least one.
    pub(crate) fn problems(&self) -> Vec<String> {
        let functions = self.functions();
        let mut problems = Vec::new();
        if functions.is_empty() {
            problems.push(NO_DEVICE.to_owned());
        } else if self.path("dev/qat_adf_ctl").exists() {
            self.out_of_tree(&mut problems);
        } else {
            self.in_tree(&functions, &mut problems);
        }
        problems
    }

    /// Folders of Intel's co-processors, but for its load balancers, which have the same class.
    fn functions(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("sys/bus/pci/devices"));
        let entries = entries.into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|function| {
                let is = |file: &str, start: &str| {
                    fs::read_to_string(function.join(file))
                        .is_ok_and(|text| text.starts_with(start))
                };
                let is_balancer = LOAD_BALANCERS.iter().any(|device| is("device", device));
                is("vendor", "0x8086") && is("class", "0x0b40") && !is_balancer
            })
            .collect()
    }

    /// Intel's own driver, which has its own driver for memory and a configuration file per device.
    fn out_of_tree(&self, problems: &mut Vec<String>) {
        if let Some(problem) = self.closed("dev/usdm_drv", "load it: modprobe usdm_drv") {
            problems.push(problem);
        }
        problems.push(SECTION.to_owned());
    }

    /// The kernel's driver with qatlib, which works on virtual functions by way of VFIO.
    fn in_tree(&self, functions: &[PathBuf], problems: &mut Vec<String>) {
        let groups = fs::read_dir(self.path("sys/kernel/iommu_groups"));
        if groups.is_ok_and(|mut groups| groups.next().is_none()) {
            problems.push(NO_IOMMU.to_owned());
        }
        let bound: Vec<_> = functions
            .iter()
            .filter(|function| link_name(function, "driver").as_deref() == Some("vfio-pci"))
            .collect();
        if bound.is_empty() {
            problems.push(NO_VIRTUAL_FUNCTION.to_owned());
        } else if !self.path("run/qat/qatmgr.sock").exists() {
            problems.push(NO_SERVICE.to_owned());
        }
        let groups = bound
            .iter()
            .filter_map(|function| link_name(function, "iommu_group"))
            .map(|group| format!("dev/vfio/{group}"));
        let mut files = ["dev/vfio/vfio".to_owned()].into_iter().chain(groups);
        problems.extend(files.find_map(|file| self.closed(&file, JOIN_GROUP)));
        problems.push(NO_COMPRESSION.to_owned());
    }

    /// Why a device file cannot be opened, and what to do; `None` if it can.
    fn closed(&self, file: &str, advice: &str) -> Option<String> {
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(file));
        match open {
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ResourceBusy => None,
            Err(error) => Some(format!("/{file} cannot be opened ({error}): {advice}")),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }
}

/// The last part of where a link leads.
fn link_name(folder: &Path, link: &str) -> Option<String> {
    let target = fs::read_link(folder.join(link)).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Numbers of Intel's Dynamic Load Balancers 2.0 and 2.5, physical and virtual.
const LOAD_BALANCERS: [&str; 4] = ["0x2710", "0x2711", "0x2714", "0x2715"];

const NO_DEVICE: &str = "there is no QAT device: enable it in the firmware's settings, or give this \
                         guest a virtual function of its host's";
const NO_IOMMU: &str = "the IOMMU is off: enable VT-d in the firmware's settings and boot with \
                        intel_iommu=on";
const NO_VIRTUAL_FUNCTION: &str = "no virtual function is bound to vfio-pci: install qatlib's service \
                                   and start it, systemctl enable --now qat";
const NO_SERVICE: &str = "qatlib's service does not run: systemctl enable --now qat";
const JOIN_GROUP: &str = "add the user to the group qat, and log in again";
const NO_COMPRESSION: &str = "the devices may be set up for cryptography only, or all their instances \
                              be taken: set ServicesEnabled=dc in /etc/sysconfig/qat (Debian: \
                              /etc/default/qat) and restart the service; a process that is not root needs memlock of 16 MiB per \
                              virtual function and more";
const SECTION: &str = "the device's configuration file in /etc may lack a section [SHIM] with \
                       NumberDcInstances above 0 (QAT_SECTION_NAME names another section), or \
                       usdm_drv the huge pages that it was told to use";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree with one function of this class, bound to this driver.
    fn host(class: &str, driver: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let function = root.path().join("sys/bus/pci/devices/0000:6b:00.1");
        fs::create_dir_all(&function).unwrap();
        fs::create_dir_all(root.path().join("sys/kernel/iommu_groups")).unwrap();
        fs::create_dir_all(root.path().join("dev/vfio")).unwrap();
        fs::write(function.join("vendor"), "0x8086\n").unwrap();
        fs::write(function.join("class"), class).unwrap();
        symlink(format!("../../drivers/{driver}"), function.join("driver")).unwrap();
        symlink("../../kernel/iommu_groups/17", function.join("iommu_group")).unwrap();
        root
    }

    #[test]
    fn a_host_without_a_device() {
        let root = host("0x088000\n", "idxd");
        let host = Host(root.path());
        assert!(!host.has_device());
        assert_eq!(host.problems(), [NO_DEVICE]);
    }

    #[test]
    fn a_load_balancer_is_no_qat_device() {
        let root = host("0x0b4000\n", "dlb2");
        let function = root.path().join("sys/bus/pci/devices/0000:6b:00.1");
        fs::write(function.join("device"), "0x2710\n").unwrap();
        assert!(!Host(root.path()).has_device());
        fs::write(function.join("device"), "0x4940\n").unwrap();
        assert!(Host(root.path()).has_device());
    }

    #[test]
    fn a_device_that_nobody_has_set_up() {
        let root = host("0x0b4000\n", "4xxx");
        let host = Host(root.path());
        assert!(host.has_device());
        let problems = host.problems();
        assert_eq!(problems[..2], [NO_IOMMU, NO_VIRTUAL_FUNCTION]);
        assert!(problems[2].starts_with("/dev/vfio/vfio cannot be opened"));
    }

    #[test]
    fn a_device_without_the_service_and_then_with_it() {
        let root = host("0x0b4000\n", "vfio-pci");
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("sys/kernel/iommu_groups/17")).unwrap();
        fs::write(at("dev/vfio/vfio"), "").unwrap();
        let problems = Host(root.path()).problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], NO_SERVICE);
        assert!(problems[1].contains("/dev/vfio/17 cannot be opened"));
        assert!(problems[1].ends_with(JOIN_GROUP));

        fs::create_dir_all(at("run/qat")).unwrap();
        fs::write(at("run/qat/qatmgr.sock"), "").unwrap();
        fs::write(at("dev/vfio/17"), "").unwrap();
        assert_eq!(Host(root.path()).problems(), [NO_COMPRESSION]);
    }

    #[test]
    fn a_device_with_the_driver_of_intel() {
        let root = host("0x0b4000\n", "4xxx");
        fs::write(root.path().join("dev/qat_adf_ctl"), "").unwrap();
        let problems = Host(root.path()).problems();
        assert!(problems[0].contains("modprobe usdm_drv"));
        assert_eq!(problems[1], SECTION);
    }
}
