// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A machine: memory, vCPUs, devices, and the log of what is written.

use std::fmt;
use std::sync::Arc;

use multifd_core::GuestMemory;
use multifd_kvm::vm_memory::VmMemoryLog;
use multifd_migration::DirtyLog;
use multifd_migration::dirty::BothLogs;

use crate::devices::Ports;
use crate::layout::{self, Layout, field};
use crate::threads::ThreadVcpu;
use crate::vcpu::Vcpu;
use crate::vcpus::Vcpus;
use crate::{Error, Memory, Workload, boot};

/// What a machine is made of. Source and destination need the same.
#[derive(Clone, Copy, Debug)]
pub struct MachineConfig {
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// What they are.
    pub processors: Processors,
    /// What its guest does.
    pub workload: Workload,
    /// Log the vCPUs' writes in dirty rings of so many entries, not in bitmaps. Only with KVM.
    pub dirty_ring: Option<u32>,
}

/// The kind of vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processors {
    /// KVM's.
    Kvm,
    /// Threads of this process that write as the guest's program does.
    Threads,
}

/// What the guest has done, by its own count, since it began, on whatever host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestReport {
    /// Pages that it wrote to.
    pub written: u64,
    /// Pages that it checked without writing to them.
    pub checked: u64,
    /// What it found wrong, and vCPUs that stopped, on this host.
    pub failures: Vec<String>,
    /// What it wrote to the serial port of this host.
    pub console: String,
}

/// A machine and its guest.
pub struct Machine {
    pub(crate) vcpus: Vcpus,
    pub(crate) ports: Arc<Ports>,
    pub(crate) memory: Memory,
    pub(crate) log: BothLogs<Box<dyn DirtyLog + Send>, VmMemoryLog>,
    processors: Processors,
    layout: Layout,
    count: usize,
}

impl Processors {
    /// KVM where it can be used, else threads, and why.
    #[must_use]
    pub fn available() -> (Self, Option<String>) {
        #[cfg(target_arch = "x86_64")]
        let unusable = crate::kvm::unusable();
        #[cfg(not(target_arch = "x86_64"))]
        let unusable = Some("the guest is a program for x86".to_owned());
        match unusable {
            None => (Self::Kvm, None),
            why => (Self::Threads, why),
        }
    }
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Threads => "threads",
        })
    }
}

impl Machine {
    /// A machine with a guest that begins: in all of the memory, which keeps its content but for the
    /// guest's own places. It does not run yet.
    ///
    /// # Errors
    /// A configuration that does not fit, or KVM's.
    pub fn boot(config: &MachineConfig, memory: Memory) -> Result<Self, Error> {
        let layout = Layout::new(memory.size(), config.vcpus, &config.workload)?;
        boot::load(&memory, &layout, config.vcpus, &config.workload)?;
        Self::new(config, memory, layout)
    }

    /// A machine whose guest comes from elsewhere.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn incoming(config: &MachineConfig, memory: Memory) -> Result<Self, Error> {
        let layout = Layout::new(memory.size(), config.vcpus, &config.workload)?;
        Self::new(config, memory, layout)
    }

    fn new(config: &MachineConfig, memory: Memory, layout: Layout) -> Result<Self, Error> {
        let count = config.vcpus as usize;
        let ports = Arc::new(Ports::new(memory.clone(), count, &config.workload));
        let (vcpus, log) = processors(config, &memory)?;
        let page_size = memory.migrated().page_size();
        let devices = VmMemoryLog::new(memory.guest(), page_size).map_err(Error::memory)?;
        Ok(Self {
            vcpus: Vcpus::new(vcpus, Arc::clone(&ports))?,
            ports,
            memory,
            log: BothLogs(log, devices),
            processors: config.processors,
            layout,
            count,
        })
    }

    /// What both sides of a migration call this kind of machine.
    #[must_use]
    pub fn name(&self) -> String {
        format!("multifd-demo-{}", self.processors)
    }

    /// The memory that migrates.
    #[must_use]
    pub fn guest_memory(&self) -> GuestMemory {
        self.memory.migrated().clone()
    }

    /// Lets the guest run.
    pub fn run(&self) {
        self.vcpus.resume();
    }

    /// Stops the guest.
    ///
    /// # Errors
    /// A vCPU has stopped by itself before.
    pub fn stop(&self) -> Result<(), Error> {
        self.vcpus.pause()
    }

    /// Has the guest check all pages that it writes to, beside its other work.
    pub fn check_memory(&self) {
        let slices = (0..self.count as u64).map(|vcpu| self.layout.slice(vcpu).pages);
        self.ports.check(slices);
    }

    /// Whether the guest still has to begin with some of the pages of the last
    /// [`check_memory`](Self::check_memory).
    #[must_use]
    pub fn is_checking(&self) -> bool {
        self.ports.unchecked() > 0
    }

    /// Pages that the guest writes to.
    #[must_use]
    pub fn working_set(&self) -> u64 {
        self.layout.pages
    }

    /// What the guest has done.
    ///
    /// # Errors
    /// Its memory cannot be read.
    pub fn report(&self) -> Result<GuestReport, Error> {
        let mut report = GuestReport {
            failures: self.ports.failures(),
            console: self.ports.console(),
            ..GuestReport::default()
        };
        report.failures.extend(self.vcpus.failure());
        for vcpu in 0..self.count {
            let block = layout::control(vcpu);
            report.written += self.memory.load(block + field::WRITTEN)?;
            report.checked += self.memory.load(block + field::CHECKED)?;
        }
        Ok(report)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({}, {} vCPUs)", self.name(), self.count)
    }
}

type VcpusAndLog = (Vec<Box<dyn Vcpu>>, Box<dyn DirtyLog + Send>);

fn processors(config: &MachineConfig, memory: &Memory) -> Result<VcpusAndLog, Error> {
    let numbers = 0..config.vcpus as usize;
    match config.processors {
        #[cfg(target_arch = "x86_64")]
        Processors::Kvm => {
            let vm = crate::kvm::Vm::new(memory, config.dirty_ring)?;
            let vcpus = numbers.map(|number| vm.vcpu(number));
            let vcpus = vcpus.collect::<Result<_, _>>()?;
            Ok((vcpus, vm.into_log()))
        }
        #[cfg(not(target_arch = "x86_64"))]
        Processors::Kvm => Err(Error::Config("the guest is a program for x86".into())),
        Processors::Threads => {
            let vcpu = |number| Box::new(ThreadVcpu::new(number, memory.clone())) as _;
            // They write through vm-memory, whose bitmap is the devices' log, too.
            Ok((
                numbers.map(vcpu).collect(),
                Box::new(multifd_migration::dirty::NoWrites),
            ))
        }
    }
}
