// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The names in a folder.

pub(super) const MANIFEST: &str = "manifest.json";
pub(crate) const RAM: &str = "ram";
pub(super) const DEVICES: &str = "devices.bin";
pub(super) const EARLY: &str = "early-sections.bin";
pub(super) const PACKETS: &str = "device-packets.bin";
/// Only in the folder of a guest that its source has not released.
pub(crate) const UNRELEASED: &str = "unreleased";

/// All that there can be in a folder.
pub(super) const ALL: [&str; 6] = [MANIFEST, RAM, EARLY, DEVICES, PACKETS, UNRELEASED];
