// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A saved migration.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::channel::DeviceCounts;
use super::devices::DevicesRecord;
use crate::disk::saved::{EarlyDevice, Manifest, Saved};
use crate::disk::unreleased;

/// What a folder says about itself, and what is in its files.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FolderRecord {
    pub(super) manifest: Manifest,
    /// Its source has not released it.
    pub(super) unreleased: bool,
    /// What devices sent before the end of the memory, by device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) early_sections: Vec<EarlyDevice>,
    pub(super) devices: DevicesRecord,
    /// Device state packets, by device.
    pub(super) device_packets: BTreeMap<String, DeviceCounts>,
    /// What the checksums of the memory say.
    pub(super) checksums: Checksums,
}

/// Whether memory is what was kept; if it is not, there is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Checksums {
    /// Nobody asked for it.
    NotCompared,
    /// All of it is.
    Match,
    /// Blocks have no checksum.
    Missing,
}

impl FolderRecord {
    pub(super) fn read(path: &Path, verify: bool) -> anyhow::Result<Self> {
        let saved = Saved::open(path)?;
        let checksums = match verify.then(|| saved.verify()).transpose()? {
            None => Checksums::NotCompared,
            Some(true) => Checksums::Match,
            Some(false) => Checksums::Missing,
        };
        let mut packets: BTreeMap<String, DeviceCounts> = BTreeMap::new();
        for packet in &saved.packets {
            let name = format!("{} {}", packet.idstr, packet.instance_id);
            let counts = packets.entry(name).or_default();
            counts.packets += 1;
            counts.bytes += packet.data.len() as u64;
        }
        Ok(Self {
            early_sections: saved.early.map_or_else(Vec::new, |early| early.devices),
            devices: DevicesRecord::new(&saved.tail, 0),
            device_packets: packets,
            checksums,
            unreleased: unreleased::is_marked(path),
            manifest: saved.manifest,
        })
    }
}
