// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Logs of a guest that runs: no write is lost, wherever slots and chunks begin and end.
//!
//! Without a usable `/dev/kvm` these tests say so and pass.

#![cfg(all(target_arch = "x86_64", feature = "kvm"))]
#![allow(
    unsafe_code,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test: memory slots are set, and what cannot be fails it"
)]

mod borders;
mod copies;
mod guest;
mod leaves_nothing;
mod slots;
#[cfg(feature = "vm-memory")]
mod vm_memory;

use std::io::Write as _;

use kvm_ioctls::Kvm;

/// KVM, if this host has it and lets us create VMs.
fn kvm() -> Option<Kvm> {
    let kvm = Kvm::new().and_then(|kvm| {
        let vm = kvm.create_vm()?;
        vm.create_vcpu(0)?;
        Ok(kvm)
    });
    match kvm {
        Ok(kvm) => Some(kvm),
        Err(error) => {
            skip(&format!("no usable /dev/kvm: {error}"));
            None
        }
    }
}

/// Says past the test harness, which shows nothing of a test that passes, that a test was left out.
fn skip(why: &str) {
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}
