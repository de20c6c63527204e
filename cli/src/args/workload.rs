// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the guest does that the demo migrates.

use std::num::NonZeroU64;

use multifd_core::PageSize;
use multifd_demo_vmm::{MachineConfig, Pattern, Processors, Workload};

use crate::show::units::{MemorySize, Rate};

/// What the guest does.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WorkloadArgs {
    /// Bytes of memory that the guest dirties per second, with K, M or G; 0 is as fast as it can
    ///
    /// It writes to whole pages. If it writes faster than its pages can be sent, the rest would never
    /// fit into the downtime limit: it is throttled, unless --set auto-converge=off says otherwise.
    #[arg(long, value_name = "RATE", default_value = "64M")]
    pub(crate) dirty_rate: Rate,
    /// The order in which it writes to its pages: sequential, random, or hot, which is random, but
    /// seven times out of eight in the first eighth
    #[arg(long, value_name = "ORDER", default_value_t)]
    pub(crate) pattern: Pattern,
    /// How much of the memory it writes to [default: a quarter]
    #[arg(long, value_name = "SIZE")]
    pub(crate) working_set: Option<MemorySize>,
    /// Number of vCPUs, which share the work
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) vcpus: u32,
    /// Use threads as vCPUs, even if KVM is available
    #[arg(long)]
    pub(crate) threads: bool,
}

impl WorkloadArgs {
    /// A machine with so many bytes of memory, whose guest does this.
    pub(crate) fn machine(&self, memory: u64) -> MachineConfig {
        let per_second = |bytes: NonZeroU64| NonZeroU64::new(bytes.get().div_ceil(PAGE));
        MachineConfig {
            vcpus: self.vcpus,
            processors: self.processors().0,
            workload: Workload {
                rate: NonZeroU64::new(self.dirty_rate.0).and_then(per_second),
                pattern: self.pattern,
                working_set: self.working_set(memory),
            },
            dirty_ring: None,
        }
    }

    /// The kind of vCPU, and why it is not KVM's.
    pub(crate) fn processors(&self) -> (Processors, Option<String>) {
        match self.threads {
            true => (Processors::Threads, Some("--threads was given".into())),
            false => Processors::available(),
        }
    }

    /// Bytes.
    pub(crate) fn working_set(&self, memory: u64) -> u64 {
        self.working_set.map_or(memory / 4, |size| size.0)
    }

    /// The same as arguments for a process that this one starts.
    pub(crate) fn arguments(&self, memory: u64) -> Vec<String> {
        let mut arguments = vec![
            format!("--dirty-rate={}", self.dirty_rate.0),
            format!("--pattern={}", self.pattern),
            format!("--working-set={}", self.working_set(memory)),
            format!("--vcpus={}", self.vcpus),
        ];
        if self.processors().0 == Processors::Threads {
            arguments.push("--threads".into());
        }
        arguments
    }
}

const PAGE: u64 = PageSize::X86.bytes_u64();
