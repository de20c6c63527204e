//! A saved migration.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::channel::DeviceCounts;
use super::devices::DevicesRecord;
use crate::disk::saved::{Manifest, Saved};

/// What a folder says about itself, and what is in its files.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct FolderRecord {
    pub(super) manifest: Manifest,
    pub(super) devices: DevicesRecord,
    /// Device state packets, by device.
    pub(super) device_packets: BTreeMap<String, DeviceCounts>,
}

impl FolderRecord {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let saved = Saved::open(path)?;
        let mut packets: BTreeMap<String, DeviceCounts> = BTreeMap::new();
        for packet in &saved.packets {
            let name = format!("{} {}", packet.idstr, packet.instance_id);
            let counts = packets.entry(name).or_default();
            counts.packets += 1;
            counts.bytes += packet.data.len() as u64;
        }
        Ok(Self {
            devices: DevicesRecord::new(&saved.tail, 0),
            device_packets: packets,
            manifest: saved.manifest,
        })
    }
}
