// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How a QEMU runs its guest.

use std::env;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};

/// For a guest that is memory only: `MULTIFD_ACCEL` if it is set, else KVM where this user may use it,
/// else TCG.
pub(super) fn for_memory() -> OsString {
    named().unwrap_or_else(|| choose(kvm_is_there()))
}

/// For a guest that runs code. The same, but KVM only where it runs code by itself: a KVM on a processor
/// without virtualisation emulates a guest without paging, and is slower than TCG by far.
pub(super) fn for_code() -> OsString {
    named().unwrap_or_else(|| choose(kvm_is_there() && processor_virtualises()))
}

fn named() -> Option<OsString> {
    env::var_os("MULTIFD_ACCEL").filter(|name| !name.is_empty())
}

fn choose(kvm: bool) -> OsString {
    OsString::from(if kvm { "kvm" } else { "tcg" })
}

fn kvm_is_there() -> bool {
    let kvm = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    kvm.is_ok()
}

/// Whether Linux says that the processor has Intel's or AMD's virtualisation.
fn processor_virtualises() -> bool {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| {
        flags
            .split_whitespace()
            .any(|flag| ["vmx", "svm"].contains(&flag))
    })
}
