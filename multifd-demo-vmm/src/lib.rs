// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! | module | what it is |
//! |---|---|
//! | `embed` | [`SourceHost`](multifd_migration::SourceHost) and [`DestinationHost`](multifd_migration::DestinationHost) |
//! | `machine` | [`Machine`]: all of it together |
//! | `memory`, `layout`, `boot` | RAM, what is where in it, and how a guest begins |
//! | `vcpus`, `vcpu` | the vCPUs' threads: run, pause, throttle |
//! | `kvm`, `threads` | the two kinds of vCPU |
//! | `devices` | I/O ports: serial port, and the device that gives the guest its work |

#![cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "what only the vCPUs of KVM ask for")
)]

mod boot;
mod devices;
mod embed;
mod error;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod layout;
mod machine;
mod memory;
mod program;
mod state;
mod threads;
mod vcpu;
mod vcpus;
mod workload;

pub use embed::{destination, receive, source};
pub use error::Error;
pub use machine::{GuestReport, Machine, MachineConfig, Processors};
pub use memory::Memory;
pub use workload::{Pattern, Workload};
