// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Saved migrations, which are read, and sent again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use multifd_cli::readers;
use multifd_migration::stream::{EarlySection, SectionKind, Tail};
use serde_json::{Value, json};

use super::give_back::give_back;
use super::inspect::inspect;
use crate::fuzzing::Target;
use crate::fuzzing::channel::Joined;
use crate::fuzzing::guest::PAGE;
use crate::fuzzing::machine::Machine;
use crate::fuzzing::parts::{self, Part, Parts, SETUP};

/// The files of a folder: whose a piece is says of which.
pub(in crate::fuzzing) const SAVED: Target = Target {
    name: "saved",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let read = read(&Parts::of(bytes), &threads);
        threads.join();
        read.unwrap_or(false)
    },
    seeds,
};

/// Answers whether the folder is in order, and its guest can be sent.
fn read(parts: &Parts<'_>, threads: &Arc<Joined>) -> Result<bool> {
    let [flags, _] = parts.setup.more;
    let folder = tempfile::tempdir()?;
    let mut files = Files::of(parts);
    if flags & AS_IT_IS == 0 {
        files.mend();
    }
    files.write(folder.path())?;
    let verify = flags & VERIFY != 0;
    let is_in_order = inspect(folder.path(), verify);
    let loaded = readers::load(folder.path());
    assert!(is_in_order != Some(false));
    assert!(
        verify || is_in_order.is_some() == loaded.is_ok(),
        "{:?}",
        loaded.err()
    );
    let Ok((config, memory)) = loaded else {
        return Ok(false);
    };
    for (block, bytes) in memory.blocks().iter().zip(&files.ram) {
        assert_eq!(block.len(), bytes.len() as u64);
        let page = block.span(0, PAGE).context("page")?;
        let mut copy = [0; PAGE];
        page.copy_to(&mut copy);
        assert!(bytes.starts_with(&copy), "another page");
    }
    give_back(config, memory, threads)?;
    Ok(true)
}

/// The files of a folder, as far as there are any.
struct Files {
    manifest: Vec<u8>,
    early: Vec<u8>,
    devices: Vec<u8>,
    packets: Vec<u8>,
    ram: Vec<Vec<u8>>,
}

impl Files {
    fn of(parts: &Parts<'_>) -> Self {
        let mut files: [Vec<u8>; 8] = Default::default();
        for (owner, bytes) in parts.numbered() {
            if let Some(file) = files.get_mut(usize::from(owner % 8)) {
                file.extend_from_slice(bytes);
            }
        }
        let [manifest, devices, packets, ram @ .., early] = files;
        Self {
            manifest,
            early,
            devices,
            packets,
            ram: ram.into(),
        }
    }

    /// Has the manifest say what is there, so that what is behind the lengths and the checksums is read, too.
    fn mend(&mut self) {
        let Ok(mut manifest) = serde_json::from_slice::<Value>(&self.manifest) else {
            return;
        };
        let set = |entry: Option<&mut Value>, key: &str, len: usize| {
            if let Some(entry) = entry.and_then(Value::as_object_mut) {
                entry.insert(key.into(), len.into());
                entry.remove("crc32");
            }
        };
        set(manifest.get_mut("devices"), "bytes", self.devices.len());
        set(
            manifest.get_mut("early-sections"),
            "bytes",
            self.early.len(),
        );
        set(
            manifest.get_mut("device-packets"),
            "bytes",
            self.packets.len(),
        );
        let blocks = manifest.get_mut("blocks").and_then(Value::as_array_mut);
        for (block, bytes) in blocks.into_iter().flatten().zip(&mut self.ram) {
            bytes.resize(bytes.len().next_multiple_of(PAGE).max(PAGE), 0);
            set(Some(block), "length", bytes.len());
        }
        self.manifest = manifest.to_string().into_bytes();
    }

    fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("manifest.json"), &self.manifest)?;
        fs::write(folder.join("devices.bin"), &self.devices)?;
        if !self.early.is_empty() {
            fs::write(folder.join("early-sections.bin"), &self.early)?;
        }
        if !self.packets.is_empty() {
            fs::write(folder.join("device-packets.bin"), &self.packets)?;
        }
        let ram = folder.join("ram");
        fs::create_dir(&ram)?;
        let manifest = serde_json::from_slice::<Value>(&self.manifest).unwrap_or_default();
        for (number, bytes) in self.ram.iter().enumerate() {
            let name = manifest.pointer(&format!("/blocks/{number}/file"));
            let name = name.and_then(Value::as_str).filter(|name| is_name(name));
            if let Some(name) = name {
                fs::write(ram.join(name), bytes)?;
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && !name.contains(['/', '\0'])
        && name.len() < 256
}

fn seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (number, machine) in Machine::all()?.iter().enumerate() {
        let ends = machine.ends()?;
        let devices = machine.main.get(ends.ram..ends.tail).context("tail")?;
        let early = machine.early_sections()?;
        let full = early.iter().map(|section| section.head.kind);
        let full = full.filter(|kind| *kind == SectionKind::Full).count();
        let sections = Tail::parse_behind(devices.to_vec(), full)?.sections;
        let packets = machine.device_packets();
        let mut manifest = json!({
            "format": "multifd-saved-migration",
            "version": 1,
            "machine": "none",
            "page-size": PAGE,
            "uuid": "12345678-9abc-def0-1234-56789abcdef0",
            "validate-uuid": number % 2 == 1,
            "sync-mode": if number % 3 == 1 { "per-section" } else { "per-round" },
            "blocks": [
                {"name": "pc.ram", "length": 2 * PAGE, "file": "00-pc.ram", "data-bytes": PAGE},
                {"name": "/rom@x", "length": PAGE, "file": "01-_rom_x", "data-bytes": 0},
            ],
            "received-pages": 3,
            "devices": {"bytes": devices.len(), "sections": sections.map(|sections| sections.len())},
            "received": {
                "date": "2026-01-02T03:04:05Z",
                "socket-address": "unix:/run/in",
                "multifd-compression": "none",
                "multifd-channels": 2,
                "program": "multifd 0.1.0",
            },
        });
        if let Some(manifest) = manifest.as_object_mut()
            && !packets.is_empty()
        {
            let entry = json!({"bytes": packets.concat().len(), "packets": packets.len()});
            manifest.insert("device-packets".into(), entry);
        }
        let early_file: Vec<u8> = early.iter().flat_map(bytes_of).collect();
        if let Some(manifest) = manifest.as_object_mut()
            && !early.is_empty()
        {
            let entry = json!({"bytes": early_file.len(), "sections": early.len()});
            manifest.insert("early-sections".into(), entry);
        }
        let setup = machine.setup([if number % 2 == 0 { AS_IT_IS } else { VERIFY }, 0]);
        let (manifest, packets, setup) = (manifest.to_string(), packets.concat(), setup.bytes());
        let ram = [[[7; PAGE], [0; PAGE]].concat(), vec![0; PAGE]];
        let [ram, rom] = &ram;
        let parts: [Part<'_>; 7] = [
            (SETUP, &setup),
            (0, manifest.as_bytes()),
            (1, devices),
            (2, &packets),
            (3, ram),
            (4, rom),
            (7, &early_file),
        ];
        seeds.push(parts::join(parts));
    }
    Ok(seeds)
}

/// A section as the file has it.
fn bytes_of(section: &EarlySection) -> Vec<u8> {
    let EarlySection { head, data, place } = section;
    let kind = match head.kind {
        SectionKind::Start => 1,
        SectionKind::Part => 2,
        SectionKind::End => 3,
        SectionKind::Full => 4,
    };
    let name = head.idstr.as_bytes();
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
    let [.., name_len] = len(name);
    let numbers = [head.instance, head.version].map(u32::to_be_bytes).concat();
    let head = [
        &[kind, *place as u8],
        &head.id.to_be_bytes()[..],
        &[name_len],
        name,
    ]
    .concat();
    [&head[..], &numbers, &len(data), data, &[0; 4]].concat()
}

/// The manifest is not mended.
const AS_IT_IS: u8 = 1;
/// Checksums are compared.
const VERIFY: u8 = 2;
