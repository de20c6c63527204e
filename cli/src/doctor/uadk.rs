// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! HiSilicon's ZIP accelerator, as uacce offers it to processes.

use super::finding::{Finding, Problem};
use super::host::{Access, Host};
use super::models::{HUAWEI, ZIP};
use super::pci::Function;

/// A ZIP accelerator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ZipDevice {
    function: Function,
    /// What uacce knows of it; `None` if the driver has not offered it.
    offer: Option<Offer>,
}

/// A device of the class uacce.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    /// `hisi_zip-0`
    name: String,
    algorithms: String,
    queues_left: u64,
    shared_memory: bool,
    /// Taken out of use by the driver after errors.
    isolated: bool,
    access: Access,
}

impl ZipDevice {
    pub(crate) fn all(host: &Host, functions: &[Function]) -> Vec<Self> {
        functions
            .iter()
            .filter(|function| function.is(HUAWEI, &ZIP))
            .map(|function| Self {
                offer: Offer::of(host, function),
                function: function.clone(),
            })
            .collect()
    }

    /// Whether libwd can use it for this user, and how; or the first thing in the way.
    pub(crate) fn usable(&self) -> Result<String, Problem> {
        let Some(offer) = &self.offer else {
            return Err(match self.function.driver.as_deref() {
                Some("vfio-pci" | "hisi-acc-vfio-pci") => Problem::new(
                    "it is handed to a guest",
                    format!("driverctl unset-override {}", self.function.address),
                ),
                Some(_) => Problem::new(
                    "its driver does not offer it to processes",
                    "modprobe -r hisi_zip && modprobe hisi_zip uacce_mode=1",
                ),
                None => Problem::new("no driver", "modprobe hisi_zip uacce_mode=1"),
            });
        };
        let problem = if offer.isolated {
            (
                "the driver has isolated it after errors",
                "see dmesg | grep hisi_zip, reboot",
            )
        } else if !offer.shared_memory {
            (
                "shared virtual memory is off",
                "take a kernel with CONFIG_ARM_SMMU_V3_SVA and the SMMU on in the firmware",
            )
        } else if !offer
            .algorithms
            .split_whitespace()
            .any(|name| name == "zlib")
        {
            (
                "it does not offer zlib",
                "take a kernel whose hisi_zip offers zlib",
            )
        } else if offer.queues_left == 0 {
            ("all its queues are taken", "end a process that uses it")
        } else {
            return match offer.access {
                Access::Usable => Ok(format!("{} queues left for processes", offer.queues_left)),
                Access::Denied => Err(Problem::new(
                    format!("this user may not open /dev/{}", offer.name),
                    format!(
                        "chown USER /dev/{}, or a udev rule with a group",
                        offer.name
                    ),
                )),
                Access::Missing => Err(Problem::new(
                    format!("there is no /dev/{}", offer.name),
                    format!("give this container its /dev/{}", offer.name),
                )),
            };
        };
        Err(Problem::new(problem.0, problem.1))
    }

    pub(crate) fn finding(&self) -> Finding {
        let name = format!("HiSilicon ZIP {}", self.function.address);
        let driver = self.function.driver.as_deref().unwrap_or("none");
        let facts = format!("driver {driver}{}", self.function.numa_text());
        match self.usable() {
            Ok(with) => Finding::ok(name, format!("{with}; {facts}")),
            Err(Problem { what, advice }) => {
                let what = format!("{what}; {facts}");
                Finding::unusable(name, &Problem { what, advice })
            }
        }
    }
}

impl Offer {
    fn of(host: &Host, function: &Function) -> Option<Self> {
        let name = host.names(&function.file("uacce")).into_iter().next()?;
        let read = |what: &str| host.read(&format!("sys/class/uacce/{name}/{what}"));
        let number = |what: &str| read(what).and_then(|text| text.parse::<u64>().ok());
        Some(Self {
            algorithms: read("algorithms").unwrap_or_default(),
            queues_left: number("available_instances").unwrap_or(0),
            shared_memory: number("flags").is_some_and(|flags| flags & UACCE_DEV_SVA != 0),
            isolated: number("isolate") == Some(1),
            access: host.access(&format!("dev/{name}")),
            name,
        })
    }
}

/// The device works with a process's addresses: Linux's include/uapi/misc/uacce/uacce.h.
const UACCE_DEV_SVA: u64 = 1;
