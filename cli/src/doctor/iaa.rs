// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! IAA devices and their work queues.

use super::finding::{Finding, Problem};
use super::host::{Access, Host};
use super::iommu::{Iommu, SharedMemory};
use super::models::{IAA, INTEL};
use super::pci::Function;

/// An IAA device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IaaDevice {
    function: Function,
    /// Its name, if its driver has it: `iax1`.
    name: Option<String>,
    state: Option<String>,
    /// Whether processes' addresses can be used, where the driver says.
    shared_memory: Option<bool>,
    queues: Vec<Queue>,
}

/// A work queue that is not disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queue {
    /// `wq1.0`
    name: String,
    mode: String,
    kind: String,
    access: Access,
}

impl IaaDevice {
    pub(crate) fn all(host: &Host, functions: &[Function]) -> Vec<Self> {
        functions
            .iter()
            .filter(|function| function.is(INTEL, &IAA))
            .map(|function| Self::read(host, function))
            .collect()
    }

    fn read(host: &Host, function: &Function) -> Self {
        let is_name = |name: &String| name.starts_with("iax");
        let name = host.names(&function.file("")).into_iter().find(is_name);
        let file = |name: &str, what: &str| function.file(&format!("{name}/{what}"));
        let read = |what: &str| host.read(&file(name.as_deref()?, what));
        let queues = name.iter().flat_map(|device| {
            let folder = function.file(device);
            let queues = host.names(&folder).into_iter();
            queues.filter_map(move |queue| Queue::read(host, &folder, queue))
        });
        Self {
            state: read("state"),
            shared_memory: read("pasid_enabled").map(|enabled| enabled == "1"),
            queues: queues.collect(),
            name: name.clone(),
            function: function.clone(),
        }
    }

    /// Whether QPL can give it work for this user, and how; or the first thing in the way.
    pub(crate) fn usable(&self, iommu: &Iommu) -> Result<String, Problem> {
        let Some(name) = &self.name else {
            return Err(match self.function.driver.as_deref() {
                Some("vfio-pci") => Problem::new(
                    "it is handed to a guest (driver vfio-pci)",
                    format!("driverctl unset-override {}", self.function.address),
                ),
                Some("idxd") => Problem::new("its driver failed", "see dmesg | grep idxd"),
                _ => Problem::new("no driver", "modprobe idxd"),
            });
        };
        if self.shared_memory != Some(true) {
            return Err(match iommu.shared_memory() {
                SharedMemory::No(problem) => problem,
                SharedMemory::Possible => Problem::new(
                    "shared virtual memory is off",
                    "add intel_iommu=on,sm_on to the kernel's command line, reboot",
                ),
            });
        }
        if self.queues.is_empty() || self.state.as_deref() != Some("enabled") {
            return Err(Problem::new("no work queue is enabled", set_up(name)));
        }
        let fits = |queue: &&Queue| queue.mode == "shared" && queue.kind == "user";
        let fitting: Vec<_> = self.queues.iter().filter(fits).collect();
        if fitting.is_empty() {
            return Err(Problem::new(
                "no work queue is shared and of type user, as QPL needs it",
                format!("accel-config disable-device {name}, {}", set_up(name)),
            ));
        }
        let with = |access| {
            fitting
                .iter()
                .filter(|queue| queue.access == access)
                .count()
        };
        match (with(Access::Usable), with(Access::Denied)) {
            (0, 0) => Err(Problem::new(
                "its work queues are not in /dev/iax",
                "give this container its /dev/iax",
            )),
            (0, _) => Err(Problem::new(
                "this user may not open /dev/iax",
                "chown -R USER /dev/iax, or a udev rule with a group",
            )),
            (usable, _) => Ok(format!("{usable} shared work queues for processes")),
        }
    }

    pub(crate) fn finding(&self, iommu: &Iommu) -> Finding {
        let known_as = self.name.as_deref().unwrap_or("IAA");
        let name = format!("IAA {known_as} {}", self.function.address);
        let name = name.replace("IAA IAA", "IAA");
        match self.usable(iommu) {
            Ok(with) => Finding::ok(name, format!("{with}; {}", self.facts())),
            Err(Problem { what, advice }) => {
                let what = format!("{what}; {}", self.facts());
                Finding::unusable(name, &Problem { what, advice })
            }
        }
    }

    fn facts(&self) -> String {
        let driver = self.function.driver.as_deref().unwrap_or("none");
        let mut facts = vec![format!("driver {driver}")];
        facts.extend(self.state.clone());
        let queues = self.queues.iter();
        facts.extend(queues.map(|queue| format!("{} {} {}", queue.name, queue.mode, queue.kind)));
        facts.join(", ") + &self.function.numa_text()
    }
}

impl Queue {
    /// A queue of a device; `None` if it is none, or disabled.
    fn read(host: &Host, folder: &str, name: String) -> Option<Self> {
        let read = |what: &str| host.read(&format!("{folder}/{name}/{what}"));
        if !name.starts_with("wq") || read("state")? != "enabled" {
            return None;
        }
        Some(Self {
            mode: read("mode")?,
            kind: read("type")?,
            access: host.access(&format!("dev/iax/{name}")),
            name,
        })
    }
}

/// The commands that give a device a work queue as QPL needs it.
fn set_up(device: &str) -> String {
    let number = device.trim_start_matches("iax");
    format!(
        "accel-config config-engine {device}/engine{number}.0 -g 0 && \
         accel-config config-wq {device}/wq{number}.0 -g 0 -s 128 -p 10 -b 1 -t 128 -m shared \
         -y user -n multifd -d user && accel-config enable-device {device} && \
         accel-config enable-wq {device}/wq{number}.0"
    )
}
